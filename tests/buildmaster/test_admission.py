"""Who may join, from the token's making to its end, on real books."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from buildmaster.admission import Admission, settled_workers
from buildmaster.clients import Clients
from buildmaster.grants import Scope
from buildmaster.knocks import BURST
from buildmaster.requests import Refusal
from buildmaster.revocations import Revocations
from buildmaster.store.tokens import attempt_secret
from buildmaster.tokens import AttemptGrant, Tokens, token_hash
from protocol.messages import Goodbye, Hello, Welcome, encode
from tests.buildmaster.books import hello
from tests.buildmaster.test_session import MasterTestCase


@implementer(ILogObserver)
class Heard:
    """All that was logged, as text."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, event: dict[str, Any]) -> None:
        self.text += f"{event}\n"


class AdmissionCase(MasterTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.admission = Admission(self.books.database)

    async def knock(self, token: str, name: str = "bee") -> Any:
        """The master's answer to a worker with that token, and its session."""
        word: Hello = msgspec.structs.replace(hello(name), token=token)
        session, line = self.connect()
        answer = await self.ask(session, line, word, (Welcome, Goodbye))  # type: ignore[arg-type]
        return answer, session

    async def joins(self, token: str, name: str = "bee") -> bool:
        answer, session = await self.knock(token, name)
        session.close()
        return isinstance(answer, Welcome)

    async def refused(self, coroutine: Any) -> str:
        try:
            await coroutine
        except Refusal as refusal:
            return refusal.code
        self.fail("it was done")


class WorkerTests(AdmissionCase):
    async def test_a_worker_that_was_added_joins_with_its_token_and_no_other(self) -> None:
        token = await self.admission.add_worker("bee")
        other = await self.admission.add_worker("cat")
        self.assertGreaterEqual(len(token), 43)
        self.assertTrue(await self.joins(token))
        for wrong in (other, token[:-1], token + "x", token.upper(), " "):
            self.assertFalse(await self.joins(wrong), wrong)
        self.assertFalse(await self.joins(token, "nobody"))

    async def test_many_join_at_once_and_a_wrong_one_keeps_nobody_out(self) -> None:
        tokens = {f"w{n}": await self.admission.add_worker(f"w{n}") for n in range(8)}
        asked = [*tokens.items(), ("w\0", "x"), ("w1", "wrong"), ("w2", tokens["w2"])]
        # One who may join, and says what the database cannot take.
        broken = msgspec.structs.replace(hello("w3"), token=tokens["w3"], boot="\0")
        session, line = self.connect()
        session.received(encode(broken))
        answers = await gatherResults(
            [Deferred.fromCoroutine(self.knock(token, name)) for name, token in asked]
        )
        kinds = [type(answer) for answer, _ in answers]
        self.assertEqual(kinds, [Welcome] * 8 + [Goodbye, Goodbye, Welcome])
        self.assertTrue(line.is_closed)
        self.flushLoggedErrors()

    async def test_the_books_hold_no_token(self) -> None:
        token = await self.admission.add_worker("bee")
        rows = await self.books.database.rows("SELECT w::text FROM worker_token w")
        self.assertNotIn(token, str(rows))
        self.assertIn(token_hash(token).hex(), str(rows))

    async def test_a_worker_is_added_once_and_again_after_it_was_revoked(self) -> None:
        first = await self.admission.add_worker("bee")
        self.assertEqual(
            await self.refused(self.admission.add_worker("bee")), "worker_exists"
        )
        await self.admission.revoke_worker("bee")
        await self.admission.revoke_worker("bee")
        self.assertFalse(await self.joins(first))
        self.assertEqual(
            await self.refused(self.admission.rotate_worker("bee")), "worker_revoked"
        )
        second = await self.admission.add_worker("bee")
        self.assertTrue(await self.joins(second))
        self.assertFalse(await self.joins(first))

    async def test_both_tokens_are_good_until_the_new_one_was_used(self) -> None:
        old = await self.admission.add_worker("bee")
        self.assertTrue(await self.joins(old))
        new = await self.admission.rotate_worker("bee")
        self.assertTrue(await self.joins(old))
        self.assertTrue(await self.joins(new))
        self.assertFalse(await self.joins(old))
        self.assertTrue(await self.joins(new))

    async def test_the_old_token_ends_in_time_though_the_new_one_was_not_used(self) -> None:
        old = await self.admission.add_worker("bee")
        new = await self.admission.rotate_worker("bee", within=0)
        self.assertFalse(await self.joins(old))
        self.assertTrue(await self.joins(new))

    async def test_names_that_nobody_should_have_are_refused(self) -> None:
        for name in ("", "a b", "../x", "-x", "x" * 101, "bee\n", "é"):
            self.assertEqual(
                await self.refused(self.admission.add_worker(name)), "bad_name"
            )
        self.assertEqual(
            await self.refused(self.admission.rotate_worker("nobody")), "no_such_worker"
        )

    async def test_a_revoked_workers_session_ends(self) -> None:
        token = await self.admission.add_worker("bee")
        answer, session = await self.knock(token)
        self.assertIsInstance(answer, Welcome)
        revocations = Revocations(self.books.database, self.roster, "m")
        await revocations.round()
        self.assertTrue(session.is_open)
        await self.admission.revoke_worker("bee")
        await revocations.round()
        self.assertFalse(session.is_open)

    async def test_a_settings_file_does_not_bring_back_what_was_ended(self) -> None:
        async def settle(token: str) -> None:
            await settled_workers(self.books.database, {"bee": token_hash(token)})

        await settle("in-the-file")
        self.assertTrue(await self.joins("in-the-file"))
        new = await self.admission.rotate_worker("bee")
        self.assertTrue(await self.joins(new))
        await settle("in-the-file")  # the master started again
        self.assertFalse(await self.joins("in-the-file"))
        self.assertTrue(await self.joins(new))
        await settle("another")
        self.assertTrue(await self.joins("another"))
        self.assertFalse(await self.joins(new))
        await self.admission.revoke_worker("bee")
        await settle("another")
        self.assertFalse(await self.joins("another"))

    async def test_a_settings_file_may_name_more_workers_than_a_transaction_locks(
        self,
    ) -> None:
        tokens = {f"w{number}": token_hash(f"t{number}") for number in range(450)}
        await settled_workers(self.books.database, tokens)
        await settled_workers(self.books.database, {**tokens, "bee": token_hash("b")})
        [known] = await self.books.database.one(
            """
            SELECT count(*) FROM worker_token JOIN worker ON name = worker
            WHERE ends_at IS NULL AND worker ~ '^w[0-9]' AND sha256 = ANY (%s)
            """,
            (list(tokens.values()),),
        )
        self.assertEqual(known, 450)
        self.assertTrue(await self.joins("b"))

    async def test_who_fails_too_often_waits_and_the_log_tells_no_secret(self) -> None:
        heard = Heard()
        globalLogPublisher.addObserver(heard)
        self.addCleanup(globalLogPublisher.removeObserver, heard)
        token = await self.admission.add_worker("bee")
        for _ in range(BURST):
            self.assertFalse(await self.joins("guess-of-a-stranger"))
        answer, _ = await self.knock(token)
        self.assertIsInstance(answer, Goodbye)
        self.assertTrue(answer.retry)
        self.assertIn("too many", answer.reason)
        self.assertIn("was turned away", heard.text)
        self.assertNotIn("guess-of-a-stranger", heard.text)
        self.assertNotIn(token, heard.text)


class ClientTests(AdmissionCase):
    async def test_a_clients_token_grants_its_scopes_until_it_is_revoked(self) -> None:
        clients = Clients(self.books.database)
        token = await self.admission.add_client(
            "ci", ["read", "submit"], "https://example.com/team", "farm token"
        )
        self.assertIsNone(clients.find(token))
        await clients.round()
        grant = clients.find(token)
        assert grant is not None
        [right] = grant.rights
        self.assertEqual(right.scopes, {Scope.READ, Scope.SUBMIT})
        self.assertEqual(right.project, "https://example.com/team")
        self.assertEqual(grant.who, "token ci")
        self.assertIsNone(clients.find(token + "x"))
        await clients.round()
        [used] = await self.books.database.one(
            "SELECT last_used_at IS NOT NULL FROM api_token WHERE name = 'ci'"
        )
        self.assertTrue(used)
        await self.admission.revoke_client("ci")
        await clients.round()
        self.assertIsNone(clients.find(token))
        self.assertEqual(
            await self.refused(self.admission.add_client("ci", ["read"], None, "x")),
            "token_exists",
        )

    async def test_masters_of_one_farm_know_each_others_attempts(self) -> None:
        """Each has a data folder, and so a secret, of its own to begin with."""
        one = await self.shared(Tokens("f" * 64, b"1" * 32))
        two = await self.shared(Tokens("e" * 64, b"2" * 32))
        self.assertEqual(two.check(one.attempt_token(7, 2)), AttemptGrant(7, 2))
        self.assertIsNone(two.check("f" * 64))

    async def shared(self, tokens: Tokens) -> Tokens:
        """The tokens of a master that starts on the test's database."""
        secret = await self.books.database.transaction(
            lambda cursor: attempt_secret(cursor, tokens.attempt_secret)
        )
        return tokens.with_attempt_secret(secret)

    async def test_what_makes_no_sense_is_refused(self) -> None:
        add, revoke = self.admission.add_client, self.admission.revoke_client
        self.assertEqual(await self.refused(add("a b", ["read"], None, "x")), "bad_name")
        self.assertEqual(
            await self.refused(add("a", ["admin"], "https://x", "x")), "admin_of_a_project"
        )
        self.assertEqual(await self.refused(revoke("nobody")), "no_such_token")
