"""The kinds of secrets that `secrets` knows: one row each, with what a text must hold to be searched for it at all.

Decisions:
- Most texts hold no hint and cost a few quick searches. No pattern can backtrack at length: repeats are possessive
  (`{20,}+`) or short.
- A long random word alone is no secret: 40 hex digits are a commit, 64 a SHA-256. It is one after a prefix that its
  maker chose to be recognised by (`TOKENS`), or beside a name (`CONTEXTS`).
- Lengths are the least at which a cut token is still worth hiding, not those of whole ones.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

VARIABLE = re.compile(r"\$?[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")  # the name of an environment variable is no secret
TEMPLATE = re.compile(r"\$[A-Z_]+\d*|\$?[{(].*", re.DOTALL)
PLACEHOLDER = re.compile(r"(?i)\W*(?:none|null|true|false|hidden|redacted|optional|required|x+|user)?\W*")
WORDS = ("pass", "passw", "passwd", "password", "pw", "pwd", "secret", "token")
MIXED = re.compile(r"(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{16,}")
KEY_OF = re.compile(
    r"(?i)(?:api|access|auth|account|private|secret|session|storage|signing|client|refresh|deploy|service|shared|wandb|vast"
    r"|kaggle|runpod|lambda)[_ -]?$"
)
BASE64 = re.compile(r"(?=[^0-9]*[0-9])(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])[A-Za-z0-9+/]{32,}={0,2}")


@dataclass(frozen=True)
class Kind:
    """One kind of secret.

    Attributes:
        name: as an error tells it.
        hints: a text with none of them, in any case, holds none. No hint is a part of another.
        pattern: the secret is its group `s`, or all of it.
        fits: what the secret must be besides, told by itself and the characters before the match.
    """

    name: str
    hints: tuple[str, ...]
    pattern: str
    fits: Callable[[str, str], bool] | None = None

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """The pattern, compiled when a text first holds a hint: commands that only look start sooner."""
        return re.compile(self.pattern)


def blank(value: str) -> bool:
    """Whether a value only stands for a secret: a variable, `***`, the word itself."""
    bare = value.strip("*.-_ 0123456789").lower()
    return bare in WORDS or any(pattern.fullmatch(value) for pattern in (VARIABLE, TEMPLATE, PLACEHOLDER))


def _told(value: str, before: str) -> bool:
    return not blank(value)


def _random(value: str, before: str) -> bool:
    """A piece too long and too mixed to be a word, a number or a name."""
    return MIXED.search(value) is not None or BASE64.fullmatch(value) is not None


def _keyed(value: str, before: str) -> bool:
    """Random, and beside the name of a key: one of a map or of a stage is none."""
    return _random(value, before) and KEY_OF.search(before) is not None


def _spelt(value: str, before: str) -> bool:
    """What can be a password: letters, with digits or signs among them."""
    mixed = re.search(r"[A-Za-z]", value) and re.search(r"[^A-Za-z_.-]", value)
    return mixed is not None and not blank(value)


def _in_address(value: str, before: str) -> bool:
    """`user:password`, where the password is none of the words that documents use."""
    return not blank(value.partition(":")[2])


def _coded(value: str, before: str) -> bool:
    """More than a word, as headers carry it."""
    return re.search(r"[0-9A-Z]", value) is not None and not VARIABLE.fullmatch(value)


def _token(name: str, pattern: str, *hints: str) -> Kind:
    """A kind that is known by its first characters, where a word begins."""
    return Kind(name, hints, rf"(?a)(?<![A-Za-z0-9+])(?:{pattern})")


# fmt: off
TOKENS = (
    _token("GitHub token", r"github_pat_\w{20,}+|gh[pousr]_[A-Za-z0-9]{20,}+",
           "github_pat_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    _token("GitLab token", r"gl(?:pat|dt|ft|soat|rt|cbt|imt|ptt|agent|oas|ffct|rtr)-[\w-]{20,}+(?:\.[\w-]++)*+"
           r"|GR1348941[\w-]{20,}+", "glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "glcbt-", "glimt-", "glptt-",
           "glagent-", "gloas-", "glffct-", "glrtr-", "gr1348941"),
    _token("Hugging Face token", r"(?:hf|api_org)_[A-Za-z0-9]{16,}+", "hf_", "api_org_"),
    _token("Slack token", r"xox[a-z]-[\w-]{16,}+|xapp-\d-[\w-]{20,}+|xoxe\.xox[bp]-[\w-]{20,}+", "xox", "xapp-"),
    _token("AWS access key", r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}(?![A-Za-z0-9])"
           r"(?:[\s,;:|\"']{1,8}+[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+]))?+", "akia", "asia", "abia", "acca"),
    _token("Anthropic key", r"sk-ant-[\w-]{20,}+", "sk-"),
    _token("OpenAI key", r"sk-(?:(?:proj|svcacct|admin|None)-[\w-]{20,}+|[A-Za-z0-9]{20,}+)", "sk-"),
    _token("OpenRouter key", r"sk-or-(?:v\d-)?\w{20,}+", "sk-"),
    _token("Google key", r"AIza[\w-]{35}|ya29\.[\w-]{20,}+|GOCSPX-[\w-]{20,}+|1//0[\w-]{40,}+",
           "aiza", "ya29.", "gocspx-", "1//0"),
    _token("RunPod key", r"rpa_[A-Za-z0-9]{20,}+", "rpa_"),
    _token("W&B key", r"wandb_v\d_\w{20,}+|local-[0-9a-f]{40}", "wandb", "local-"),
    _token("Stripe key", r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,}+|whsec_[A-Za-z0-9+/]{20,}+",
           "_live_", "_test_", "whsec_"),
    _token("npm token", r"npm_[A-Za-z0-9]{30,}+", "npm_"),
    _token("PyPI token", r"pypi-[A-Za-z0-9_]{16}[\w-]{14,}+", "pypi-"),
    _token("JSON web token", r"eyJ[\w-]{10,}+\.eyJ[\w-]{10,}+\.[\w-]*+", ".eyj"),
    _token("DigitalOcean token", r"do[opr]_v1_[0-9a-f]{40,}+", "dop_v1_", "doo_v1_", "dor_v1_"),
    _token("Lambda key", r"secret_[\w-]{0,60}?[0-9a-f]{32}\.[A-Za-z0-9]{20,}+", "secret"),
    _token("Kaggle token", r"KGAT_[0-9a-f]{20,}+", "kgat_"),
    _token("Azure secret", r"[\w.~-]{3}\dQ~[\w.~-]{31,34}", "q~"),
    _token("SendGrid key", r"SG\.[\w-]{16,}+\.[\w-]{16,}+", "sg."),
    _token("Telegram token", r"\d{8,10}:AA[\w-]{32,}+", ":aa"),
    _token("Twilio key", r"SK[0-9a-f]{32}(?![0-9a-f])", *(f"sk{digit}" for digit in "0123456789abcdef")),
    _token("Mailchimp key", r"[0-9a-f]{32}-us\d\d?(?!\w)", "-us"),
    _token("Databricks token", r"dapi[0-9a-f]{32}", "dapi"),
    _token("Docker token", r"dckr_(?:pat|oat)_[\w-]{20,}+", "dckr_"),
    _token("Vault token", r"hv[sbr]\.[\w-]{20,}+", "hvs.", "hvb.", "hvr."),
    _token("Atlassian token", r"AT(?:ATT3|BB|CTT3)[\w=-]{20,}+", "atatt3", "atbb", "atctt3"),
    _token("Artifactory key", r"AKC[a-z0-9][A-Za-z0-9]{20,}+", "akc"),
    _token("Square token", r"sq0[a-z]{3}-[\w-]{20,}+", "sq0"),
    _token("age key", r"AGE-SECRET-KEY-1[0-9A-Z]{40,}+", "age-"),
    _token("key of a service", r"(?:gsk_|r8_|nvapi-|xai-|pplx-|pcsk_|sbp_|lsv2_(?:pt|sk)_|ntn_|lin_api_|glsa_|glc_"
           r"|shpat_|tgp_v1_|jina_|figd_|rubygems_)[A-Za-z0-9_-]{24,}+", "gsk_", "r8_", "nvapi-", "xai-", "pplx-",
           "pcsk_", "sbp_", "lsv2_", "ntn_", "lin_api_", "glsa_", "glc_", "shpat_", "tgp_v1_", "jina_", "figd_",
           "rubygems_"),
)
# What stands between name and value: signs of YAML, JSON, Python, XML and of those inside a JSON string.
IS = r"\\?[\"']?[ \t]{0,8}+(?:[:=：＝]>?|>)\s{0,20}+(?:[>|][+-]?\s{1,20}+)?\\?[\"']?"
REST = r"[^&\s\"'<>#\\);]"  # of the value of a query
CONTEXTS = (
    Kind("private key", ("private",), (
        r"(?a)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s\\,:\"'>|#]{20,}+"
        r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?")),
    Kind("password in a URL", ("://",), (
        r"(?a)://(?P<s>[^\s/\"'<>{}@:]{0,200}+:(?!\d{1,5}(?:[/?#,;|)\]]|$))[^\s\"'<>{}@]{1,300}+(?:@[^\s\"'<>{}@/]{0,100}+){0,3})"
        r"@(?=[\w\[])"), _in_address),
    Kind("token in a URL", ("://",), (r"(?a)://(?P<s>[^\s/\"'<>@:]{20,300}+)@(?=[\w\[])"), _random),
    Kind("signature in a URL", ("sig=", "signature="), (
        rf"(?ai)(?<=[?&;])(?:sig|(?:x-(?:amz|goog|ms|oss)-)?signature)=(?P<s>{REST}{{4,}}+)"), _told),
    Kind("token in a URL", ("token", "key", "auth=", "password", "passwd", "pwd", "secret", "credential"),
         (rf"(?ai)(?<=[?&;])[\w.-]{{0,30}}?(?:token|key|auth|passw(?:or)?d|pwd|secret|credential)="
                    rf"(?P<s>{REST}{{8,}}+)"), _told),
    Kind("web hook", ("hooks.slack.com", "/api/webhooks/"), (
        r"(?ai)(?:hooks\.slack\.com/[a-z]{1,20}/|/api/webhooks/)(?P<s>[\w/+-]{20,}+)")),
    Kind("password in a header", ("authorization", "bearer "), (
        r"(?ai)(?:authorization\W{1,12}(?:bearer|basic|token|apikey) {1,4}|(?<!\w)bearer {1,4}(?=[\w.~+/=-]{20}))"
        r"(?P<s>[\w.~+/=-]{6,}+)"), _coded),
    Kind("W&B key", ("wandb",), (
        r"(?ai)wandb[^\n]{0,40}?(?:key|login)[a-z ]{0,30}\W{1,8}(?P<s>[0-9a-f]{40})(?!\w)")),
    Kind("W&B key", ("login(",), (r"(?ai)login\((?:key\s?=\s?)?[\"'](?P<s>[0-9a-f]{40})[\"']")),
    Kind("Vast.ai key", ("vast",), (r"(?ai)vast\.?ai[\w ./-]{0,30}?key\W{1,8}(?P<s>[0-9a-f]{64})(?!\w)")),
    Kind("Kaggle key", ("username",), (
        r"(?ai)username\\?[\"']\s{0,9}:\s{0,9}\\?[\"'][^\"'\n]{1,80}[\"']\s{0,9},\s{0,9}\\?[\"']key\\?[\"']\s{0,9}:"
        r"\s{0,9}\\?[\"'](?P<s>[0-9a-f]{32})")),
    Kind("Kaggle key", ("username",), (
        r"(?ai)\bkey\\?[\"']\s{0,9}:\s{0,9}\\?[\"'](?P<s>[0-9a-f]{32})\\?[\"']\s{0,9},\s{0,9}\\?[\"']username")),
    Kind("login of a registry", ('"auth',), (
        r"(?ai)\"auth\\?\"\s{0,9}:\s{0,9}\\?\"(?P<s>[A-Za-z0-9+/]{12,}+={0,2})")),
    Kind("cookie", ("cookie",), (
        r"(?ai)cookie\\?[\"']?[:=,]\s{0,9}[\"']?(?P<s>[^\s;=]{1,80}=[^\s;\"']{16,}+)"), _random),
    Kind("password of a .netrc", ("machine ",), (
        r"(?ai)machine\s{1,9}\S{1,200}+\s{1,9}login\s{1,9}\S{1,200}+\s{1,9}password\s{1,9}(?P<s>\S{1,300}+)"),
        _told),
    Kind("secret beside its name", ("token", "secret", "credential"), (
        rf"(?ai)(?:token|secret|credentials?){IS}(?P<s>[\w+/=.~-]{{16,}}+)"), _random),
    Kind("secret beside its name", ("key",), (
        rf"(?ai)key(?:[_-]?id)?{IS}(?P<s>[\w+/=.~-]{{16,}}+)"), _keyed),
    Kind("password beside its name", ("password", "passwd", "passphrase", "pwd"), (
        rf"(?ai)(?:password|passwd|passphrase|pwd){IS}(?P<s>(?![/.~])[^\s\"'<>(){{}}\[\]$,;\\]{{6,}}+)"), _spelt),
    Kind("secret on a command line", ("--",), (
        r"(?ai)(?<![\w-])--(?:[a-z]{1,20}-)?(?:password|token|secret|api-?key)[ =]{1,4}"
        r"(?P<s>(?![/.~-])[^\s\"'<>(){}\[\]$,;\\]{8,}+)"), _spelt),
    Kind("secret on a command line", ("--", "-u "), (
        r"(?a)(?<![\w-])(?:-u|--user) ?[\"']?[\w.@+-]{1,64}:(?P<s>(?![/.~])[^\s\"'<>(){}\[\]$,;\\]{6,}+)"), _spelt),
)
# fmt: on
KINDS = (*TOKENS, *CONTEXTS)
