"""What every environment must do: a suite for each implementation of IEnvironment.

Mix it into a synchronous test case that has ``make``.  Everything in it runs real
processes.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path
from subprocess import Popen
from tempfile import mkdtemp
from typing import TYPE_CHECKING
from uuid import uuid4

from zope.interface.verify import verifyObject

from tests.worker.environments.handed import HandedFiles
from worker.environments import traces
from worker.environments.interface import BadPath, IEnvironment, Streams

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as Case
else:
    Case = object


def processes_with(word: str) -> list[int]:
    """Processes, dead ones not, whose command line holds ``word``."""
    found = []
    for process in traces.processes():
        try:
            line = Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in line:
            found.append(process)
    return found


def mounts_below(folder: Path) -> list[str]:
    """Lines of this process's mounts that lie below ``folder``."""
    text = Path("/proc/self/mountinfo").read_text()
    return [line for line in text.splitlines() if str(folder) in line]


class EnvironmentCase(Case):
    """A case about an environment that ``make`` makes in a folder."""

    def make(self, folder: Path) -> IEnvironment:
        raise NotImplementedError

    def setUp(self) -> None:
        self.base = Path(mkdtemp(prefix="headrace test, with: odd name ", dir="/tmp"))
        self.addCleanup(traces.remove, self.base)
        self.local = self.base / "local"
        self.local.mkdir()
        self.folder = self.base / "builds" / "7"
        self.said: list[str] = []
        self.environment = self.make(self.folder)
        self.addCleanup(self.environment.destroy)
        self.environment.prepare()

    def command(
        self, script: str, user: str | None = None, **variables: str
    ) -> Popen[bytes]:
        """A bash script, started in the project."""
        process = self.environment.command(
            ["bash", "-c", script],
            environment={**self.environment.variables, **variables},
            directory=self.environment.project,
            user=user,
        )
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        return process

    def output(self, script: str, user: str | None = None, **variables: str) -> str:
        """All that a script prints."""
        process = self.command(script, user, **variables)
        assert process.stdout is not None
        text = process.stdout.read().decode(errors="surrogateescape")
        process.wait()
        return text

    def living(self, word: str) -> list[int]:
        """Processes whose command line holds ``word``."""
        return processes_with(word)

    def command_lines(self, word: str) -> list[bytes]:
        """The command lines of those that ``living`` finds."""
        found = []
        for process in processes_with(word):
            with contextlib.suppress(OSError):
                found.append(Path(f"/proc/{process}/cmdline").read_bytes())
        return found

    def at(self, path: str) -> str:
        """A path in the project."""
        return f"{self.environment.project}/{path}"


class EnvironmentConformance(HandedFiles, EnvironmentCase):
    """Cases that hold for every environment."""

    # The life of an environment.

    def test_provides_the_interface(self) -> None:
        verifyObject(IEnvironment, self.environment)

    def test_output_and_errors_come_in_their_order_through_one_pipe(self) -> None:
        self.environment.begin()
        self.assertEqual(
            self.output("echo out; echo err >&2; echo more"), "out\nerr\nmore\n"
        )

    def test_output_comes_while_the_command_runs(self) -> None:
        self.environment.begin()
        process = self.command("echo now; exec sleep 600")
        assert process.stdout is not None
        self.assertEqual(process.stdout.read(4), b"now\n")
        self.assertIsNone(process.poll())

    def test_exit_status_is_the_command_s(self) -> None:
        self.environment.begin()
        for status in (0, 1, 42, 255):
            self.assertEqual(self.command(f"exit {status}").wait(), status)

    def test_status_tells_the_signal_that_killed_the_command(self) -> None:
        self.environment.begin()
        self.assertEqual(self.command("kill -KILL $$").wait(), -signal.SIGKILL)
        self.assertEqual(self.command("kill -TERM $$").wait(), -signal.SIGTERM)

    def test_a_command_gets_just_the_environment_it_is_given(self) -> None:
        self.environment.begin()
        process = self.environment.command(
            ["/usr/bin/env"], environment={"A": "b c\nd", "E": ""}, directory="/"
        )
        assert process.stdout is not None
        lines = process.stdout.read().decode().splitlines()
        process.stdout.close()
        lines = [line for line in lines if not line.startswith(traces.MARK)]
        self.assertEqual(sorted(lines), ["A=b c", "E=", "d"])

    def test_a_hostile_variable_does_not_reach_programs_of_the_machine(self) -> None:
        """LD_PRELOAD, followed outside, would be code run with the worker's rights."""
        self.environment.begin()
        text = self.output("echo ok", LD_PRELOAD="/no/such.so")
        self.assertEqual(text.splitlines()[-1], "ok")
        # The dynamic linker of one program, bash, complained; nobody else's.
        self.assertEqual(text.count("ld.so"), 1, text)

    def test_a_command_starts_in_its_directory_and_reads_nothing(self) -> None:
        self.environment.begin()
        self.assertEqual(self.output("pwd; cat"), f"{self.environment.project}\n")

    def test_a_missing_directory_or_program_is_named(self) -> None:
        self.environment.begin()
        with self.assertRaisesRegex(BadPath, "/not/there"):
            self.environment.command(["true"], environment={}, directory="/not/there")
        with self.assertRaisesRegex(BadPath, "no-such-program"):
            self.environment.command(
                ["no-such-program"], environment={"PATH": "/usr/bin"}, directory="/"
            )

    def test_a_command_has_no_descriptors_but_the_standard_ones(self) -> None:
        """A descriptor of the worker's could be its database or its token."""
        opened = os.open("/etc/passwd", os.O_RDONLY)
        os.set_inheritable(opened, True)
        self.addCleanup(os.close, opened)
        self.environment.begin()
        listed = self.output("exec ls /proc/self/fd").split()
        self.assertEqual(sorted(listed), ["0", "1", "2", "3"])  # 3 is the folder listed

    def test_a_command_leaves_no_core_file(self) -> None:
        self.environment.begin()
        self.assertEqual(self.output("ulimit -Hc"), "0\n")

    def test_a_command_ignores_no_signal_that_the_worker_ignores(self) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        self.environment.begin()
        self.assertEqual(self.command("kill -HUP $$; exit 3").wait(), -signal.SIGHUP)

    def test_a_large_output_arrives_whole(self) -> None:
        self.environment.begin()
        self.assertEqual(len(self.output("head -c 3000000 /dev/zero")), 3_000_000)

    def test_a_background_service_serves_the_next_command(self) -> None:
        self.environment.begin()
        process = self.command("mkfifo q; (while :; do echo pong > q; done) & exit 0")
        self.assertEqual(process.wait(), 0)
        self.assertEqual(self.output("cat q")[:5], "pong\n")

    def test_files_outlive_a_job_and_the_project_s_do_not(self) -> None:
        self.environment.begin()
        self.output('touch "$HOME/kept" here ../beside')
        self.environment.end()
        self.environment.begin()
        text = self.output('ls "$HOME/kept" >/dev/null && ls -A . ..')
        self.assertEqual(text.split(), [".:", "..:", "project"])

    def test_the_same_job_finds_its_project_again_as_it_was(self) -> None:
        self.environment.begin()
        self.output("echo mine > f; touch ../beside")
        self.environment.end()
        self.environment.begin(again=True)
        self.assertEqual(self.output("cat f; ls ..").split(), ["mine", "beside", "project"])

    def test_a_command_has_the_streams_that_it_is_given(self) -> None:
        self.environment.begin()
        told_end, told = os.pipe()
        process = self.environment.command(
            ["bash", "-c", "echo out"],
            environment=self.environment.variables,
            directory=self.environment.project,
            streams=Streams(os.open("/dev/null", os.O_RDONLY), told, told),
        )
        os.close(told)
        if process.stdout is not None:
            # It can't: who gave them passes on what it says.
            os.close(told_end)
            told_end = os.dup(process.stdout.fileno())
            process.stdout.close()
        with os.fdopen(told_end, "rb") as stream:
            self.assertEqual(stream.read(), b"out\n")
        self.assertEqual(process.wait(), 0)

    # Stopping.

    def test_terminate_reaches_the_command_and_its_children(self) -> None:
        self.environment.begin()
        process = self.command(
            "trap 'echo stopped; exit 5' TERM; echo up; sleep 600 & wait"
        )
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), b"up\n")
        process.terminate()
        self.assertEqual(process.wait(), 5)
        self.assertEqual(process.stdout.read(), b"stopped\n")

    def test_kill_kills_the_command(self) -> None:
        self.environment.begin()
        word = uuid4().hex
        process = self.command(f"echo up; exec -a {word} sleep 600")
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.wait()
        # The pipe ends when the command does, which may be after its stand-in.
        self.assertEqual(process.stdout.read(), b"")
        self.assertEqual(self.living(word), [])

    def start_survivors(self, word: str) -> Popen[bytes]:
        """A command whose children do all they can to outlive it."""
        process = self.command(
            f"""
            trap '' TERM HUP INT
            live() {{ exec -a {word} sleep 600; }}
            (live) &
            setsid bash -c 'exec -a {word} sleep 600' &
            (setsid bash -c '(exec -a {word} sleep 600 <&- >&- 2>&-) & exit' &)
            (trap '' TERM; setsid bash -c 'cd /; exec -a {word} sleep 600' &)
            env -i bash -c 'exec -a {word} sleep 600' &
            nohup bash -c 'exec -a {word} sleep 600' &
            echo up
            wait
            """
        )
        assert process.stdout is not None
        while b"up" not in process.stdout.readline():
            pass
        # Each has its name only once it executes sleep.
        while len(self.command_lines(word)) < 6 or self.unnamed(word):
            select.select([], [], [], 0.01)
        return process

    def unnamed(self, word: str) -> list[bytes]:
        """Processes that are still about to become what ``start_survivors`` starts."""
        return [
            line
            for line in self.command_lines(word)
            if not line.startswith(word.encode()) and b"trap" not in line
        ]

    def test_nothing_survives_the_end(self) -> None:
        """Double-forked, in sessions of their own, deaf to TERM: all are gone at once."""
        self.environment.begin()
        word = uuid4().hex
        process = self.start_survivors(word)
        self.environment.end()
        self.assertEqual(self.living(word), [])
        self.assertEqual(process.returncode, -signal.SIGKILL)

    def test_nothing_survives_the_death_of_who_owns_it(self) -> None:
        """An owner that is killed has no chance to clean up."""
        word = uuid4().hex
        told_end, told = os.pipe()
        self.addCleanup(os.close, told_end)
        owner = os.fork()
        if owner == 0:
            try:
                self.environment.begin()
                self.start_survivors(word)
                os.write(told, b".")
                signal.pause()
            finally:
                os._exit(1)
        os.close(told)
        self.assertEqual(os.read(told_end, 1), b".")
        os.kill(owner, signal.SIGKILL)
        os.waitpid(owner, 0)
        traces.sweep(self.folder)
        until = time.monotonic() + 20
        # The kernel kills them; their last moments are nobody's to wait for.
        while self.living(word) and time.monotonic() < until:
            select.select([], [], [], 0.01)
        self.assertEqual(self.living(word), [])
        self.assertFalse(self.folder.exists())

    def test_a_fork_bomb_ends(self) -> None:
        self.environment.begin()
        word = uuid4().hex
        process = self.command(
            f"""
            bomb() {{ (exec -a {word} sleep 600) & setsid bash -c : & }}
            for i in {{1..60}}; do bomb; done; echo up; while :; do bomb; sleep 0.1; done
            """
        )
        assert process.stdout is not None
        process.stdout.readline()
        self.environment.end()
        self.assertEqual(self.living(word), [])

    def test_the_end_comes_twice_without_harm_and_so_does_destruction(self) -> None:
        self.environment.begin()
        self.environment.end()
        self.environment.end()
        self.environment.destroy()
        self.environment.destroy()
        self.assertFalse(self.folder.exists())

    def test_destruction_leaves_no_process_mount_or_folder(self) -> None:
        self.environment.begin()
        word = uuid4().hex
        self.start_survivors(word)
        self.output("mkdir -p deep/er; chmod 0 deep; touch \"$(printf 'a\\nb\\377')\"")
        self.environment.destroy()
        self.assertEqual(self.living(word), [])
        self.assertEqual(mounts_below(self.folder), [])
        self.assertFalse(self.folder.exists())

    def test_a_thousand_folders_within_each_other_can_be_removed(self) -> None:
        self.environment.begin()
        name = "d" * 100
        script = f"for (1..1100) {{ mkdir q({name}) and chdir q({name}) or die $! }}"
        self.output(f"perl -e '{script}'")
        self.environment.destroy()
        self.assertFalse(self.folder.exists())

    # Files.

    def test_a_pushed_tree_is_the_same_inside(self) -> None:
        tree = self.local / "tree"
        (tree / "sub").mkdir(parents=True)
        (tree / "sub" / "run").write_text("#!/bin/sh\necho ran\n")
        (tree / "sub" / "run").chmod(0o755)
        (tree / "link").symlink_to("sub/run")
        self.environment.begin()
        self.environment.push(tree, self.environment.project)
        self.assertEqual(self.output("./link; readlink link"), "ran\nsub/run\n")

    def test_what_was_pushed_comes_back(self) -> None:
        self.environment.begin()
        (self.local / "a").write_bytes(bytes(range(256)) * 1000)
        self.environment.push(self.local / "a", self.at("new/folder/a"))
        self.environment.pull(self.at("new/folder/a"), self.local / "back" / "b")
        self.assertEqual(
            (self.local / "back" / "b").read_bytes(), (self.local / "a").read_bytes()
        )

    def test_files_are_listed_by_any_name(self) -> None:
        """Newlines and bytes that are no UTF-8 are names as others."""
        self.environment.begin()
        self.output("mkdir -p d/e; touch d/e/f \"$(printf 'a\\nb')\" \"$(printf '\\377')\"")
        self.output("ln -s / root; mkfifo p")
        found = self.environment.files(self.environment.project)
        self.assertEqual(sorted(found), sorted(["d/e/f", "a\nb", "\udcff", "root", "p"]))
        for name in ("d/e/f", "a\nb", "\udcff"):
            self.environment.pull(self.at(name), self.local / "got")
            self.assertEqual((self.local / "got").read_bytes(), b"")

    def test_a_link_is_pulled_as_the_file_it_leads_to(self) -> None:
        self.environment.begin()
        self.output('mkdir d; echo x > d/f; ln -s "$PWD/d" e; ln -s e/f link')
        self.environment.pull(self.at("link"), self.local / "got")
        self.assertFalse((self.local / "got").is_symlink())
        self.assertEqual((self.local / "got").read_text(), "x\n")
        self.assertEqual(self.environment.resolve(self.at("link")), self.at("d/f"))

    def test_a_pulled_folder_holds_no_links(self) -> None:
        self.environment.begin()
        self.output("mkdir d; echo x > f; ln -s ../f d/l; ln -s /etc d/etc; ln -s no d/no")
        self.environment.pull(self.at("d"), self.local / "got")
        self.assertEqual([each.name for each in (self.local / "got").iterdir()], ["l"])
        self.assertFalse((self.local / "got" / "l").is_symlink())

    def test_pipes_are_not_pulled_and_nobody_waits_for_them(self) -> None:
        self.environment.begin()
        self.output("mkdir d; mkfifo p d/p; ln -s p l")
        for name in ("p", "d", "l"):
            with self.assertRaisesRegex(BadPath, "plain file"):
                self.environment.pull(self.at(name), self.local / "got")

    def test_pipes_are_not_pushed(self) -> None:
        os.mkfifo(self.local / "p")
        self.environment.begin()
        with self.assertRaisesRegex(BadPath, "plain file"):
            self.environment.push(self.local / "p", self.at("p"))

    def test_links_round_in_a_circle_lead_nowhere(self) -> None:
        self.environment.begin()
        self.output("ln -s a b; ln -s b a")
        with self.assertRaisesRegex(BadPath, "circle"):
            self.environment.pull(self.at("a"), self.local / "got")

    def test_a_secret_of_the_machine_is_out_of_reach(self) -> None:
        """By any link, and by any number of dots."""
        secret = self.base / "secret"
        secret.write_text("the worker's token")
        self.environment.begin()
        dots = "../" * 40
        for number, target in enumerate((str(secret), f"{dots}{secret}")):
            self.output(f"ln -s '{target}' {number}; ln -s '{secret.parent}' d{number}")
            for path in (str(number), f"d{number}/secret"):
                with self.assertRaises(BadPath):
                    self.environment.pull(self.at(path), self.local / "got")
        with self.assertRaises(BadPath):
            self.environment.pull(self.at(f"{dots}{secret}"), self.local / "got")
        self.assertFalse((self.local / "got").exists())

    def test_nothing_is_pushed_through_a_link_out(self) -> None:
        (self.local / "f").write_text("new")
        target = self.base / "target"
        target.mkdir()
        (target / "f").write_text("old")
        self.environment.begin()
        self.output(f"ln -s '{target}' d; ln -s '{target}/f' f; mkdir e; ln -s ../d e/x")
        for path in ("d/f", "e/x/f", "f"):
            # Either it is refused or it lands inside, in the place of the link.
            try:
                self.environment.push(self.local / "f", self.at(path))
            except BadPath:
                pass
            self.assertEqual((target / "f").read_text(), "old")

    def test_a_folder_pushed_over_a_link_takes_its_place(self) -> None:
        (self.local / "d").mkdir()
        (self.local / "d" / "f").write_text("new")
        target = self.base / "target"
        target.mkdir()
        self.environment.begin()
        self.output(f"ln -s '{target}' d")
        self.environment.push(self.local / "d", self.at("d"))
        self.assertEqual(list(target.iterdir()), [])
        self.assertEqual(self.output("cat d/f"), "new")

    def test_clearing_the_project_follows_no_link(self) -> None:
        """The next job's beginning removes the project; not what it links to."""
        target = self.base / "target"
        target.mkdir()
        (target / "f").write_text("old")
        self.environment.begin()
        self.output(f"ln -s '{target}' d; cd ..; mv project gone; ln -s '{target}' project")
        self.environment.end()
        self.environment.begin()
        self.assertEqual((target / "f").read_text(), "old")
        self.assertEqual(self.environment.files(self.environment.project), [])

    def test_nothing_needs_installing_where_nothing_is_wanted(self) -> None:
        self.assertEqual(self.environment.install([]), [])
