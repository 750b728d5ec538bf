"""Rows of the study captions, and of what came with it; each function names those of one benchmark or two."""

from stepladder.dev.target_rows.row import Record, Row

PROBABILITY, ACCURACY = "token probability", "choice accuracy"
SEEING = ("untrained", "shuffled", "blank")  # arms that see nothing of the picture, or nothing learnt


def download() -> tuple[Row, ...]:
    """Rows of `bench_download`."""
    return (
        Row(
            "download",
            "5,000 URLs over 300 hosts of a faulty server, the download killed 10 times",
            "every row in its class, nothing asked twice but what was in hand, ledger = tars",
            "{right_class:,} of {rows:,} rows in their class, {asked_though_settled} asked again that the ledger had, "
            "{asked_twice} asked twice that were in hand, {tars_differ_from_ledger} differ between ledger and tars",
            _kept,
        ),
        Row(
            "download",
            "CPU of the download per picture, without decoding",
            "≤ 2 ms",
            "{cpu_ms_per_picture:.2f} ms",
            lambda record: record["cpu_ms_per_picture"] <= 2,
            absolute=True,
        ),
    )


def images() -> tuple[Row, ...]:
    """Pictures of unknown origin, and tars."""
    return (
        Row(
            "images",
            "odd, broken and hostile picture files through the bounded decoder",
            "0 crashes, 0 hangs, < 2 GB, each decoded or classed",
            _odd,
            _odd_met,
        ),
        Row(
            "images",
            "near-duplicates among 100,000 hashes within 7 bits of 64, exactly",
            "all planted ones",
            lambda r: f"{r['near']['found']} of {r['near']['planted']} in {r['near']['cpu_s']:.1f} CPU-s",
            lambda r: r["near"]["found"] == r["near"]["planted"],
        ),
        Row(
            "tars",
            "random reads of 2,000 JPEG files (256 x 256) from tars with decoding, per CPU-second",
            "≥ 1.0 x files with Pillow, ≥ 1.5 x webdataset",
            _reads,
            lambda r: r["ratios"]["files"] >= 1 and r["ratios"]["webdataset"] >= 1.5,
        ),
    )


def lists() -> tuple[Row, ...]:
    """Rows of `bench_captions_lists`."""
    return (
        Row(
            "captions_lists",
            "one pass over the nine columns of a list of 1 M rows, every filter on",
            "≤ 20 s, < 1 GB at any length",
            _pass,
            lambda record: record["rows"][0]["cpu_s"] <= 20 and all(row["peak_mb"] < 1000 for row in record["rows"]),
            absolute=True,
        ),
    )


def goldens() -> tuple[Row, ...]:
    """Rows of `bench_captions_goldens`."""
    return (
        Row(
            "captions_goldens",
            "BLEU-1 to 4, ROUGE-L, CIDEr-D on the example of nlg-eval",
            "equal to 4 digits",
            _metrics,
            lambda record: _off(record) < 5e-5,
        ),
        Row(
            "captions_goldens",
            "BLINK val: published answers of four models, scored",
            "the README's numbers within 0.1",
            _blink,
            lambda record: all(abs(row["mean"] - row["printed"]) <= 0.1 for row in record["blink"]),
        ),
        Row(
            "captions_goldens",
            "free answers to BLINK read as they were for the paper",
            "more than a parser of two rules (77.6 %) and the plan's (45.1 %)",
            _parsers,
            lambda record: record["parsers"][0]["named"] > max(row["named"] for row in record["parsers"][2:]),
        ),
    )


def offload() -> tuple[Row, ...]:
    """Rows of `bench_offload`."""
    return (
        Row(
            "offload",
            "activations of a transformer that wait in host memory: what stays on the device, time of a step",
            "the same losses and gradients, to the last bit",
            _ways,
            lambda record: all(row["equal"] for row in record["rows"]),
            absolute=True,
        ),
    )


def _kept(record: Record) -> bool:
    faults = ("unclassed", "asked_though_settled", "tars_differ_from_ledger")
    in_hand = record["in_hand_at_kills"]
    return (
        record["right_class"] == record["rows"]
        and not any(record[fault] for fault in faults)
        and max(in_hand) <= record["most_in_hand"]
        and record["asked_twice"] <= sum(in_hand)
        and record["tars_equal_undisturbed"]
    )


def _ways(record: Record) -> str:
    plain, *others = record["rows"]
    told = (
        f"{row['way']} {row['stays'] / plain['stays']:.0%} for {row['ms'] / plain['ms']:.2f} x the time"
        for row in others
    )
    return f"{plain['stays'] / 1e6:.0f} MB, of which on a {record['device']} " + ", ".join(told)


def _odd(record: Record) -> str:
    """Both rows of `bench_images`: what was given, and what became of it."""

    def one(name: str) -> str:
        row = record["rows"][name]
        classed = ", ".join(f"{outcome} {count}" for outcome, count in row["classed"].items())
        ends = f"{row['crashes']} crashes, {row['hangs']} hangs, {row['peak_gb']:.2f} GB at most"
        return f"{row['pictures']} {name}: {row['kept']} decoded, {classed}; {ends}"

    return f"{one('files')}; {one('bombs')}"


def _odd_met(record: Record) -> bool:
    rows = record["rows"].values()
    whole = all(row["kept"] + sum(row["classed"].values()) == row["pictures"] for row in rows)
    return whole and all(row["crashes"] == row["hangs"] == 0 and row["peak_gb"] < 2 for row in rows)


def _reads(record: Record) -> str:
    told = ", ".join(f"{name} {row['us']:.0f}" for name, row in record["rows"].items())
    ratios = record["ratios"]
    bytes_alone = f"bytes alone {ratios['webdataset_bytes']:.1f} x webdataset"
    return f"{ratios['files']:.2f} x files, {ratios['webdataset']:.2f} x webdataset; {bytes_alone} (CPU-us: {told})"


def _pass(record: Record) -> str:
    first, *longer = record["rows"]
    peaks = ", ".join(f"{row['peak_mb']:.0f} MB at {row['rows'] / 1e6:g} M rows" for row in longer)
    return (
        f"{first['cpu_s']:.1f} CPU-s, peak {first['peak_mb']:.0f} MB ({first['imports_mb']:.0f} of it imports), {peaks}"
    )


def _off(record: Record) -> float:
    return max(abs(value - record["metrics_expected"][name]) for name, value in record["metrics"].items())


def _metrics(record: Record) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in record["metrics"].items())


def _blink(record: Record) -> str:
    return "; ".join(
        f"{row['model']} {row['mean']:.2f} ± {row['half_width']:.1f} ({row['printed']})" for row in record["blink"]
    )


def _parsers(record: Record) -> str:
    told = ", ".join(f"{row['parser']} {row['named']:.1%}" for row in record["parsers"])
    ours, unseen = record["parsers"][0], record["parsers_test"][0]
    agreed = f"with abstentions that agree {ours['agrees']:.1%}; of answers to test, unseen, {unseen['agrees']:.1%}"
    return f"{told} of {ours['answers']:,} answers to val; ours {agreed}"


def arms() -> tuple[Row, ...]:
    """Rows of `bench_captions_step` and `bench_captions_arms`."""
    return (
        Row(
            "captions_step",
            "profile quick: a training step on cached features against one that runs both frozen towers",
            "≥ 5 x",
            lambda r: f"{r['ratio']:.1f} x ({r['rows']['cached']['cpu_ms']:.0f} CPU-ms a step of 8 pictures)",
            lambda r: r["ratio"] >= 5,
        ),
        Row(
            "captions_step",
            "megabytes of a checkpoint: trained weights, and the optimizer's state",
            "",
            lambda r: f"{r['checkpoint_mb']['weights']:.1f} + {r['checkpoint_mb']['optimizer']:.1f} (plan: 153 + 0)",
            None,
        ),
        Row(
            "captions_arms",
            "quick, pictures kept out: the trained arm over untrained, shuffled and blank, token probability",
            "intervals above zero",
            lambda r: "; ".join(_leads(rows) for name, rows in r["rows"].items() if name.startswith("seed")),
            lambda r: all(
                _arm(rows, arm)["lead_low"] > 0
                for name, rows in r["rows"].items()
                if name.startswith("seed")
                for arm in SEEING
            ),
            headline=True,
        ),
        Row(
            "captions_arms",
            "... over the strongest rival that is fitted to the training split",
            "above it",
            lambda r: "; ".join(_rivals(rows) for name, rows in r["rows"].items() if name.startswith("seed")),
            lambda r: all(
                _arm(rows, "trained")["value"] > max(one[PROBABILITY] for one in rows["rivals"].values())
                for name, rows in r["rows"].items()
                if name.startswith("seed")
            ),
        ),
        Row(
            "captions_arms",
            "... the same in choice accuracy",
            "above it",
            lambda r: "; ".join(_rivals(rows, ACCURACY) for name, rows in r["rows"].items() if name.startswith("seed")),
            lambda r: all(
                _arm(rows, "trained", ACCURACY)["value"] > max(one[ACCURACY] for one in rows["rivals"].values())
                for name, rows in r["rows"].items()
                if name.startswith("seed")
            ),
        ),
        Row(
            "captions_arms",
            "... what world tokens add: over zeros, and over those of another picture",
            "no threshold: the page must say what is there",
            lambda r: "; ".join(
                _leads(rows, ("world_zero", "world_shuffled"))
                for name, rows in r["rows"].items()
                if name.startswith("seed")
            ),
            None,
        ),
        Row(
            "captions_arms",
            "the signal removed: trained over shuffled and blank",
            "no effect",
            lambda r: _leads(r["rows"]["signal removed"], SEEING[1:]),
            lambda r: all(_arm(r["rows"]["signal removed"], arm)["verdict"] == "no effect" for arm in SEEING[1:]),
        ),
        Row(
            "captions_arms",
            "temporal questions on moving scenes, answered with one and with five frames of the world tower",
            "five above one",
            _moving,
            lambda r: r["moving"]["1"]["right"] > r["moving"]["0"]["right"] + 0.1,
        ),
    )


def _arm(rows: Record, name: str, metric: str = PROBABILITY) -> Record:
    return next(row for row in rows["arms"] if row["arm"] == name and row["metric"] == metric)


def _leads(rows: Record, arms: tuple[str, ...] = SEEING) -> str:
    told = [(arm.replace("_", " "), _arm(rows, arm)) for arm in arms]
    return ", ".join(
        f"{name} {row['lead']:+.3f} ({row['lead_low']:+.3f} to {row['lead_high']:+.3f})" for name, row in told
    )


def _rivals(rows: Record, metric: str = PROBABILITY) -> str:
    told = ", ".join(f"{name} {values[metric]:.3f}" for name, values in rows["rivals"].items())
    return f"trained {_arm(rows, 'trained', metric)['value']:.3f}, {told}"


def _moving(record: Record) -> str:
    one, five = record["moving"]["0"], record["moving"]["1"]
    return f"{one['right']:.1%} and {five['right']:.1%} of {one['questions']} (guessing {one['chance']:.0%})"


ROWS = (*download(), *images(), *lists(), *goldens(), *offload(), *arms())
