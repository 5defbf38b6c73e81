"""`worker.offers`: what machines of several kinds offer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from protocol.messages import Offer
from tests.worker.supervisor.attempts import order
from worker.config import WorkerConfig
from worker.offers import Machine, offers, takes, this_machine, unfit

ROOT = Machine(is_root=True, can_make_images=True, architecture="arm64", series="bookworm")
NATIVE = Offer(isolation="native", architecture="arm64", series=("*",))


class OffersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.images = Path(self.mktemp()).absolute()
        self.images.mkdir()
        self.said: list[str] = []

    def offers(self, machine: Machine, **keys: object) -> list[Offer]:
        fields: dict[str, object] = {
            "data": ".",
            "masters": ("pb://a:1",),
            "token_file": "t",
            "images": str(self.images),
            "series_images": {"jammy": "bookworm"},
            **keys,
        }
        return offers(WorkerConfig(**fields), machine, self.said.append)  # type: ignore[arg-type]

    def image(self, name: str) -> None:
        (self.images / "by-digest" / "00").mkdir(parents=True, exist_ok=True)
        (self.images / name).symlink_to("by-digest/00")

    def test_root_offers_native_and_every_series_it_can_make(self) -> None:
        self.image("trixie")
        native, chroot = self.offers(ROOT)
        self.assertEqual(native, NATIVE)
        self.assertEqual(chroot.isolation, "chroot")
        self.assertEqual(chroot.series, ("bookworm", "jammy", "trixie"))

    def test_without_a_tool_for_images_only_those_that_are_there_count(self) -> None:
        machine = dataclasses.replace(ROOT, can_make_images=False)
        self.image("bookworm")
        _, chroot = self.offers(machine)
        self.assertEqual(chroot.series, ("bookworm", "jammy"))

    def test_without_images_and_tool_no_chroot_is_offered_and_it_is_said_why(self) -> None:
        machine = dataclasses.replace(ROOT, can_make_images=False)
        self.assertEqual(self.offers(machine), [NATIVE])
        self.assertIn("mmdebstrap", self.said[0])

    def test_whose_chroots_are_lpci_s_takes_no_handed_files(self) -> None:
        config = WorkerConfig(data=".", masters=("pb://a:1",), token_file="t")
        chroot = Offer(isolation="chroot", architecture="arm64", series=("*",))
        self.assertEqual(takes(config, [NATIVE, chroot]), ("handed-files",))
        lpci = msgspec.structs.replace(config, engine="lpci")
        self.assertEqual(takes(lpci, [NATIVE, chroot]), ())
        self.assertEqual(takes(lpci, [NATIVE]), ("handed-files",))

    def test_an_ordinary_user_offers_no_chroot_and_says_why(self) -> None:
        why = "it has no newuidmap: apt-get install uidmap"
        machine = dataclasses.replace(ROOT, is_root=False, why_no_own_root=why)
        self.assertEqual(self.offers(machine), [NATIVE])
        self.assertIn("need root", self.said[0])
        self.assertIn(why, self.said[0])

    def test_an_ordinary_user_with_a_namespace_of_its_own_offers_chroots(self) -> None:
        machine = dataclasses.replace(
            ROOT, is_root=False, why_no_own_root="", can_run_machines=True
        )
        found = [offer.isolation for offer in self.offers(machine)]
        self.assertEqual(found, ["native", "chroot"])

    def test_containers_of_lxd_are_offered_as_chroots_where_it_answers(self) -> None:
        able = dataclasses.replace(ROOT, has_containers=lambda: True)
        found = self.offers(able, containers="lxd")
        self.assertEqual([offer.isolation for offer in found], ["native", "chroot"])
        self.assertEqual(self.offers(ROOT, containers="lxd"), [NATIVE])
        self.assertIn("neither incus nor lxc", self.said[0])

    def test_only_what_the_operator_wants_is_offered(self) -> None:
        self.assertEqual(self.offers(ROOT, isolations=("native",)), [NATIVE])
        [chroot] = self.offers(ROOT, isolations=("chroot",))
        self.assertEqual(chroot.isolation, "chroot")
        self.assertEqual(self.said, [])

    def test_virtual_machines_are_offered_where_qemu_is(self) -> None:
        able = dataclasses.replace(ROOT, can_run_machines=True)
        self.assertEqual(
            [offer.isolation for offer in self.offers(able)], ["native", "chroot", "vm"]
        )
        self.offers(ROOT, isolations=("native", "vm"))
        self.assertIn("qemu", self.said[0])

    def test_a_foreign_architecture_is_offered_where_it_can_be_emulated(self) -> None:
        able = dataclasses.replace(ROOT, foreign=("riscv64",))
        found = self.offers(able, foreign_architectures=("riscv64", "s390x"))
        offered = [(offer.isolation, offer.architecture) for offer in found]
        self.assertIn(("chroot", "riscv64"), offered)
        self.assertNotIn(("chroot", "s390x"), offered)
        self.assertIn("no chroots of s390x", self.said[0])

    def test_an_order_fits_only_an_offer_that_covers_all_of_it(self) -> None:
        found = self.offers(ROOT)
        fits = order(None, [], architecture="arm64", series="anything")
        self.assertEqual(unfit(found, fits), "")
        for changes in (
            {"architecture": "amd64"},
            {"isolation": "vm"},
            {"isolation": "chroot", "series": "focal"},
        ):
            asked = order(None, [], **{"architecture": "arm64", **changes})
            self.assertIn("this worker makes no", unfit(found, asked))

    def test_this_machine_has_an_architecture(self) -> None:
        self.assertRegex(this_machine().architecture, r"^[a-z0-9]+\Z")
