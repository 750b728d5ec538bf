import os
import subprocess
from pathlib import Path

import pytest

from stepladder.core.config import ParameterError
from stepladder.launch import code
from stepladder.launch.hosts import CommandFailed, HostError, LocalHost, Unreachable


def git(root: Path, *words: str) -> None:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with committed, changed, new, deleted and ignored files."""
    monkeypatch.delenv("STEPLADDER_OUTPUTS", raising=False)
    root = tmp_path / "project"
    (root / "lib").mkdir(parents=True)
    git(root, "init", "-q")
    (root / ".gitignore").write_text("*.log\n")
    (root / "lib" / "a.py").write_text("a = 1\n")
    (root / "gone.py").write_text("")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "link.py").symlink_to("lib/a.py")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    (root / "gone.py").unlink()
    (root / "new.py").write_text("new\n")
    (root / "big.log").write_text("ignored\n")
    return root


@pytest.fixture
def host(tmp_path):
    return LocalHost("here/one", tmp_path / "box")


def test_committed_changed_and_new_files_go_and_nothing_else(project):
    found = code.look(project)
    assert found.names == (".gitignore", "lib/a.py", "link.py", "new.py", "run.sh")
    assert str(found).startswith("5 files, ")


def test_outputs_do_not_go_even_where_git_would_list_them(project, monkeypatch):
    for place in ("outputs/toy/walk/params.yaml", "elsewhere/toy/walk/params.yaml"):
        (project / place).parent.mkdir(parents=True)
        (project / place).write_text("")
    assert "elsewhere/toy/walk/params.yaml" in code.look(project).names
    monkeypatch.setenv("STEPLADDER_OUTPUTS", str(project / "elsewhere"))
    assert not [name for name in code.look(project).names if name.endswith("params.yaml")]


def test_a_project_in_a_folder_of_a_repository_ships_that_folder(project):
    assert code.look(project / "lib").names == ("a.py",)


def test_the_hash_tells_content_names_links_and_executable_bits_and_no_times(project):
    seen = [code.look(project).hash]
    os.utime(project / "new.py", (1, 1))
    assert code.look(project).hash == seen[0]

    def changed() -> bool:
        seen.append(code.look(project).hash)
        return len(set(seen)) == len(seen)

    (project / "new.py").write_text("new!\n")
    assert changed()
    (project / "new.py").chmod(0o755)
    assert changed()
    (project / "new.py").rename(project / "newer.py")
    assert changed()
    (project / "link.py").unlink()
    (project / "link.py").symlink_to("newer.py")
    assert changed()


def test_a_tree_arrives_as_it_is_whatever_its_names(project, host):
    names = ["with space.py", "new\nline.py", "-dash.py", "*.py", "größe.py", os.fsdecode(b"\xff.py")]
    for name in names:
        (project / name).write_text(name.encode(errors="surrogateescape").hex())
    place = Path(code.look(project).send(host))
    for name in names:
        assert (place / name).read_bytes() == (project / name).read_bytes()
    assert os.readlink(place / "link.py") == "lib/a.py"
    assert os.access(place / "run.sh", os.X_OK) and not os.access(place / "new.py", os.X_OK)
    assert not (place / "big.log").exists()


class Watched(LocalHost):
    """Counts what is pushed; cuts the first push short where asked to."""

    pushes = 0
    cut = False

    def push(self, root, names, to):
        self.pushes += 1
        if self.cut:
            super().push(root, list(names)[:2], to)
            raise Unreachable("gone")
        return super().push(root, names, to)


def test_a_whole_tree_is_not_sent_again_and_a_half_one_is_gone_on_with(project, tmp_path):
    host = Watched("here/one", tmp_path / "box")
    host.cut = True
    found = code.look(project)
    with pytest.raises(Unreachable):
        found.send(host)
    host.cut = False
    place = Path(found.send(host))
    assert {path.name for path in place.iterdir()} >= {"run.sh", "new.py"}
    found.send(host)
    assert host.pushes == 2


def test_a_machine_that_is_gone_is_not_taken_for_one_without_the_tree(project, tmp_path):
    class Gone(LocalHost):
        def call(self, argv, stdin=b"", timeout=60.0):
            raise Unreachable("gone")

    with pytest.raises(Unreachable):
        code.look(project).send(Gone("here/one", tmp_path / "box"))


def test_a_file_that_changes_on_its_way_is_noticed(project, tmp_path):
    class Edited(LocalHost):
        def push(self, root, names, to):
            (root / "new.py").write_text("edited meanwhile")
            return super().push(root, names, to)

    host = Edited("here/one", tmp_path / "box")
    found = code.look(project)
    with pytest.raises(ParameterError, match="changed"):
        found.send(host)
    with pytest.raises(CommandFailed):
        host.call(["test", "-e", f"{found.there(host)}.whole"])


def test_a_job_keeps_the_tree_it_was_launched_with(project, host, tmp_path):
    (project / os.fsdecode(b"\xff.py")).write_text("odd")
    found = code.look(project)
    found.keep(tmp_path / "launch" / "code")
    (project / "new.py").write_text("edited a day later\n")
    again = code.kept(tmp_path / "launch" / "code")
    assert again is not None and again.hash == found.hash != code.look(project).hash
    assert (Path(again.send(host)) / "new.py").read_text() == "new\n"


def test_a_kept_tree_that_is_not_whole_is_none(project, tmp_path):
    folder = tmp_path / "code"
    assert code.kept(folder) is None
    copy = code.look(project).keep(folder)
    (copy.root / "new.py").unlink()
    assert code.kept(folder) is None


def test_repositories_inside_and_links_that_lead_out_are_told(project, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "x").write_text("")
    git(inner, "add", "-A")
    git(inner, "commit", "-qm", "x")
    git(project, "submodule", "add", "-q", str(inner), "module")
    subprocess.run(["cp", "-r", str(inner), str(project / "nested")], check=True)
    (project / "away").symlink_to(tmp_path)
    found = code.look(project)
    assert found.left_out == ("module", "nested") and found.astray == ("away",)
    told = " ".join(found.warnings)
    assert "module, nested" in told and "away" in told


def test_very_many_files_are_warned_of(project, monkeypatch):
    assert code.look(project).warnings == []
    monkeypatch.setattr(code, "MANY", 3)
    assert ".gitignore" in " ".join(code.look(project).warnings)


def test_where_there_is_no_repository_the_way_out_is_said(tmp_path, project, monkeypatch):
    with pytest.raises(ParameterError, match="git init"):
        code.look(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ParameterError, match="git is not installed"):
        code.look(project)


def test_files_with_secrets_are_named_and_the_secrets_are_not(project, monkeypatch):
    token = "hf_" + "aB3" * 8
    (project / ".env").write_text("X=1")
    (project / ".env.example").write_text("X=")
    (project / "notes.md").write_text(f"use {token}")
    (project / "config.json").write_text('{"k": "correct horse battery"}')
    (project / "test_login.py").write_text('login("https://anna:hunter2secret@example.org")')
    monkeypatch.setenv("CLOUD_SECRET", "correct horse battery")
    found = code.secrets_in(code.look(project))
    assert [line.partition(":")[0] for line in found] == [".env", "config.json", "notes.md"]
    assert token not in " ".join(found) and "CLOUD_SECRET" in " ".join(found)


def test_a_module_of_the_tree_runs_there(project, host):
    (project / "lib" / "said.py").write_text("import os, sys; print(os.getcwd(), sys.argv[1], 'it is')")
    place = code.look(project).send(host)
    assert host.call(code.command("python3", place, "said", "a b")).strip() == f"{place} a b it is"
    with pytest.raises(HostError):
        host.call(code.command("python3", place, "unsaid"))
