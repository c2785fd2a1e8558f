"""An instance of an app in a language of its own: it follows the feed by docs/consumer-contract.md, and nothing else.

Usage: instance.py [--broken NAME], with ROLLCALL_URL, ROLLCALL_APP and ROLLCALL_INSTANCE in the environment, and ROLLCALL_STATE where
it is to keep its state over a restart. Answers
`check ACCOUNT WORKSPACE` on stdin with `allowed ROLE`, `denied` or `stale`, and ends when stdin ends. `rollcall conformance`
tries it. With --broken it breaks one clause, so that the tests see that this is noticed.

One thread applies the stream, one looks whether it is alive, one acknowledges, one reports what a fork lost, and the main one
answers. They share one lock.
"""

import argparse
import collections
import os
import sys
import threading
import time

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from state import Fill, load, save

# The clause that each breaks.
BROKEN = {
    "record_time": "C1",
    "redelivery": "C2",
    "gap": "C3",
    "parts": "C4",
    "ready": "C5",
    "ahead": "C5",
    "wrong_store": "C6",
    "foreign": "C6",
    "moved": "C6",
    "readmit": "C7",
    "deaf": "C7",
    "compacted": "C8",
    "merge": "C8",
    "silence": "C9",
    "slow": "C10",
    "no_deadline": "C11",
    "old_cursor": "C11",
    "early": "C12",
    "receipts": "C12",
    "no_close": "C12",
    "fight": "C12",
    "usurp": "C12",
    "from_answer": "lease",
    "outage": "lease",
    "denied": "lease",
    "hurry": "C14",
    "no_digest": "C16",
    "blind": "C16",
    "wrong_digest": "C16",
    "ticks": "C17",
}

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
# Revocations that are remembered because the log might lose them. Far more than a failover can lose.
REMEMBERED = 10_000


class Api:
    """The methods of the feed, as reflection describes them."""

    def __init__(self, channel):
        self.channel = channel
        self.pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        self.service = self.pool.FindServiceByName("rollcall.v1.FeedService")
        self.functions = {name: self.function(name) for name in self.service.methods_by_name}

    def function(self, name):
        method = self.service.methods_by_name[name]
        request = message_factory.GetMessageClass(method.input_type)
        kind = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        function = kind(
            f"/rollcall.v1.FeedService/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        return lambda timeout=None, **fields: function(request(**fields), timeout=timeout)

    def value(self, enum, name):
        return self.pool.FindEnumTypeByName("rollcall.v1." + enum).values_by_name[name].number

    def parse(self, kind, packed):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(kind)).FromString(packed)

    def words(self, enum, prefix):
        values = self.pool.FindEnumTypeByName("rollcall.v1." + enum).values
        return {value.number: value.name.removeprefix(prefix).lower() for value in values}


def refusal(error):
    """The reason of an error, and when to come again."""
    reason, retry = "", 0.0
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for packed in status_pb2.Status.FromString(value).details:
                info, delay = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
                if packed.Is(info.DESCRIPTOR) and packed.Unpack(info) and info.domain == "rollcall.v1":
                    reason = info.reason
                elif packed.Is(delay.DESCRIPTOR) and packed.Unpack(delay):
                    retry = delay.retry_delay.ToTimedelta().total_seconds()
    return reason, retry


class Clock:
    """Elapsed time by two clocks. A suspended or restored machine stops one of them at most."""

    BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def now(self):
        return time.clock_gettime(self.BOOT), time.time()

    def since(self, moment):
        return max(now - then for now, then in zip(self.now(), moment, strict=True))


class Ticks:
    """Broken: counts what it sleeps, so that a frozen process has no time passing."""

    def __init__(self):
        self.count = 0.0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            time.sleep(0.1)
            self.count += 0.1

    def now(self):
        return self.count

    def since(self, moment):
        return self.count - moment


class Instance:
    def __init__(self, broken):
        self.broken = broken
        self.app, self.name = os.environ["ROLLCALL_APP"], os.environ["ROLLCALL_INSTANCE"]
        address = os.environ["ROLLCALL_URL"].removeprefix("http://")
        # A proxy of whoever runs this has nothing to do with it.
        channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
        grpc.channel_ready_future(channel).result(timeout=20)
        self.api = Api(channel)
        self.roles = self.api.words("WorkspaceRole", "WORKSPACE_ROLE_")
        self.fork = self.api.value("ErrorReason", "ERROR_REASON_CURSOR_FORKED")
        self.ended = self.api.value("ReceiptOutcome", "RECEIPT_OUTCOME_ENDED")
        self.not_revoking = {
            self.api.value("ChangeReason", "CHANGE_REASON_" + reason)
            for reason in ("ROLE_CHANGED", "PROFILE_CHANGED", "RETURN_CHANGED", "EXTERNAL_IDS_CHANGED")
        }
        self.clock = Ticks() if "ticks" in broken else Clock()

        self.lock = threading.Condition()
        # What answers, and what a snapshot fills beside it.
        self.state, self.filling = None, None
        self.cursor, self.subscription, self.store = "", "", ""
        # A snapshot is asked for although there is a cursor.
        self.anew = False
        # The newest cursor of this subscription that is applied, and the one that was acknowledged last.
        self.applied, self.acknowledged = "", ""
        self.interval, self.ttl, self.serve_stale = 1.0, 2.0, False
        # From when, for how long.
        self.lease = None
        self.receipts = {}
        # By member and workspace: what revoked, to be compared after a fork. And what a fork has lost.
        self.revocations = collections.OrderedDict()
        self.lost = {}
        self.forked, self.merging = False, False
        self.call, self.heard, self.limit, self.alive, self.given_up = None, 0.0, 30.0, False, False
        self.seen = set()
        self.latest = 0
        # Another process has the name: this one stops for good.
        self.replaced = False
        self.file = os.environ.get("ROLLCALL_STATE", "")
        # What is held is of the file, and no stream has shown yet that it is of the store that is followed.
        self.from_file = False
        self.resume()
        self.stopping = False

    def resume(self):
        """Begins with what was kept. It answers once there is a lease."""
        kept = load(self.file, self.api.parse, self.broken)
        if kept is not None:
            self.state, self.cursor, self.store = kept["state"], kept["cursor"], kept["store"]
            self.revocations.update(kept["revocations"])
            self.receipts.update(kept.get("receipts", {}))
            self.lost, self.from_file = kept["lost"], True

    # Answering.

    def check(self, account, workspace):
        with self.lock:
            # The lease first: what is read after it is at least what it was granted for.
            leased = self.lease is not None and self.clock.since(self.lease[0]) < self.lease[1]
            leased |= self.lease is not None and self.serve_stale
            state = self.state
            if state is None or self.stopping or not leased:
                return "denied" if "denied" in self.broken and state is not None and self.lease else "stale"
            place = state.things.get(("workspace", workspace))
            if place is None or place.state != 1:
                return "denied"
            organization = state.things.get(("organization", place.organization_id))
            member_id = state.members.get((place.organization_id, account))
            member = state.things.get(("member", member_id))
            membership = state.things.get(("workspace_member", workspace, member_id))
            if any(thing is None or thing.state != 1 for thing in (organization, member, membership)):
                return "denied"
            if (member_id, workspace) in self.lost or (member_id, "") in self.lost:
                return "denied"
            return f"allowed {self.roles[membership.role]}"

    # Following.

    def follow(self):
        wait = FIRST_WAIT
        while not self.stopping:
            self.alive = False
            reason, retry = "", 0.0
            try:
                self.stream()
            except grpc.RpcError as error:
                reason, retry = refusal(error)
            if self.stopping or not self.goes_on(reason):
                return
            if self.alive:
                wait = FIRST_WAIT
            time.sleep(max(wait, 0.0 if "hurry" in self.broken else min(retry, LONGEST_WAIT)))
            wait = min(2 * wait, LONGEST_WAIT)

    def goes_on(self, reason):
        """What an ending means. False: nothing that heals by coming again."""
        with self.lock:
            if self.replaced or reason == "SUBSCRIPTION_REPLACED":
                self.replaced, self.applied = True, ""
                return "fight" in self.broken
            if reason == "CURSOR_WRONG_STORE":
                if "wrong_store" not in self.broken and not ("moved" in self.broken and self.from_file):
                    print("another store: the endpoint is wrong, or what was kept is to be moved away", file=sys.stderr)
                    return False
                self.cursor = ""
            elif reason == "CURSOR_COMPACTED" and "compacted" in self.broken:
                pass
            elif reason in ("CURSOR_INVALID", "CURSOR_SCOPE_CHANGED", "CURSOR_COMPACTED", "CURSOR_FORKED"):
                self.cursor = ""
                self.forked |= reason == "CURSOR_FORKED"
                self.merging = reason == "CURSOR_COMPACTED" and "merge" in self.broken
            elif reason in ("SUBSCRIPTION_CLOSED", "SUBSCRIPTION_NOT_FOUND"):
                self.subscription = ""
            elif reason == "SLOW_CONSUMER" and "slow" in self.broken:
                self.cursor = ""
        return True

    def stream(self):
        """Follows one stream to its end, or to where something is missing."""
        with self.lock:
            held, subscription = self.cursor, self.subscription
            names = {"app": self.app, "instance": self.name, "subscription_id": subscription}
            self.call = self.api.functions["Watch"](cursor=held, snapshot_anyway=self.anew, **names)
            self.heard, self.limit = time.monotonic(), 30.0
        pages, part, parts = 0, 0, []
        careful = "gap" not in self.broken
        for message in self.call:
            self.heard = time.monotonic()
            kind = message.WhichOneof("message")
            self.alive |= kind != "opened"
            foreign = kind == "opened" and held and message.opened.store_id != self.store
            if foreign and "foreign" not in self.broken or careful and message.previous_cursor not in ("", held):
                break
            if kind == "opened":
                self.opened(message.opened)
                if message.opened.snapshot_follows:
                    held = ""
            elif kind == "snapshot_page":
                if careful and message.snapshot_page.index != pages:
                    break
                pages += 1
                self.page(message.snapshot_page)
            elif kind == "snapshot_end":
                if careful and message.snapshot_end.pages != pages:
                    break
                self.end_of_snapshot(message.snapshot_end)
            elif kind == "batch":
                if careful and message.batch.part != part:
                    break
                part = part + 1 if message.batch.more_parts else 0
                parts.extend(message.batch.changes)
                if not message.batch.more_parts or "parts" not in self.broken:
                    self.batch(parts, message.cursor)
                    parts = []
            elif kind == "bookmark":
                if not self.bookmark(message.bookmark):
                    # Filled anew, beside what answers meanwhile. With the cursor another history behind it is noticed.
                    with self.lock:
                        self.anew = True
                        self.cursor = "" if "blind" in self.broken else message.cursor
                    break
            else:
                # What this version does not know, it cannot apply.
                break
            if message.cursor:
                held = message.cursor
                self.advance(message.cursor)
        self.call.cancel()

    def watch_over(self):
        """Gives up a stream that is silent for too long, or whose subscription has ended."""
        while not self.stopping:
            time.sleep(0.05)
            with self.lock:
                silent = time.monotonic() - self.heard > self.limit and "silence" not in self.broken
                if self.call is not None and (silent or self.given_up):
                    self.given_up = False
                    self.call.cancel()

    def opened(self, opened):
        with self.lock:
            self.interval = opened.bookmark_interval.ToTimedelta().total_seconds()
            self.ttl = opened.lease_ttl.ToTimedelta().total_seconds()
            self.serve_stale, self.store, self.from_file = opened.serve_stale, opened.store_id, False
            self.forked |= opened.cursor_refusal == self.fork and "deaf" not in self.broken
            if opened.subscription_id != self.subscription:
                self.subscription = opened.subscription_id
                self.applied = self.applied if "old_cursor" in self.broken else ""
                self.acknowledged = ""
            self.limit = 3 * self.interval
            if opened.snapshot_follows:
                self.limit = 30.0
                self.filling = Fill(self.broken)
                if self.merging:
                    self.filling.things.update(self.state.things)
                    self.filling.members.update(self.state.members)
                    self.filling.digest = self.state.digest

    def page(self, page):
        with self.lock:
            for subject in page.subjects:
                self.filling.put(subject)

    def end_of_snapshot(self, end):
        with self.lock:
            self.limit = 3 * self.interval
            self.filling.position = end.position
            self.filling.ready_position = end.position if "ready" in self.broken else end.ready_position
            self.swap()

    def swap(self):
        """Lets the new state answer, once it is of one time."""
        if self.filling is None or not self.filling.ready:
            return
        old, self.state, self.filling = self.state, self.filling, None
        for key, lost in self.revocations.items():
            if old is not None and "readmit" not in self.broken and self.returned(old, lost):
                self.lost[key] = lost
        self.forked = False
        self.revocations = collections.OrderedDict(
            (key, held) for key, held in self.revocations.items() if key not in self.lost
        )

    def returned(self, old, lost):
        """Whether what this revocation ended is there again, in a history that does not know of it."""
        key = ("workspace_member", lost["workspace_id"], lost["member_id"])
        key = key if lost["workspace_id"] else ("member", lost["member_id"])
        then, now = old.things.get(key), self.state.things.get(key)
        if then is None or now is None or then.state == 1 or now.state != 1:
            return False
        return self.forked or now.version <= then.version

    def batch(self, changes, cursor):
        if "early" in self.broken and cursor:
            self.advance(cursor)
            time.sleep(0.4)
        with self.lock:
            state = self.filling or self.state
            for change in changes:
                self.apply(state, change)
                state.position = state.changed = max(state.position, change.position)
            self.swap()

    def apply(self, state, change):
        anyway = "redelivery" in self.broken and change.change_id in self.seen
        if "record_time" in self.broken:
            recorded = change.record_time.ToNanoseconds()
            if recorded < self.latest:
                return
            self.latest = recorded
        taken = state.put(change.subject, anyway)
        if change.change_id in self.seen:
            return
        self.seen.add(change.change_id)
        kind = change.subject.WhichOneof("subject")
        if kind not in ("member", "workspace_member"):
            return
        thing = getattr(change.subject, kind)
        key = thing.member_id, thing.workspace_id if kind == "workspace_member" else ""
        if thing.state == 1:
            self.revocations.pop(key, None)
        elif change.reason not in self.not_revoking:
            # This app has nothing open: its checks deny, and that is all.
            self.receipts[change.change_id] = {
                "position": change.position,
                "change_id": change.change_id,
                "outcome": self.ended,
            }
            if taken:
                self.revocations[key] = {
                    "change_id": change.change_id,
                    "organization_id": thing.organization_id,
                    "workspace_id": key[1],
                    "member_id": thing.member_id,
                    "reason": change.reason,
                    "record_time": change.record_time,
                }
                if len(self.revocations) > REMEMBERED:
                    self.revocations.popitem(last=False)

    def bookmark(self, bookmark):
        """Says whether the digest fits."""
        with self.lock:
            state = self.filling or self.state
            state.position = max(state.position, bookmark.position)
            self.swap()
            if "no_digest" in self.broken or not bookmark.digest or not state.ready:
                return True
            if not state.changed <= bookmark.digest_position <= state.position:
                return True
            return bookmark.digest == state.sum()

    def advance(self, cursor):
        """All up to this cursor is applied. It is acknowledged only once the state that has it is the one that answers."""
        with self.lock:
            self.cursor, self.anew = cursor, False
            if self.filling is None or "ahead" in self.broken:
                self.applied = cursor
                self.lock.notify_all()

    # Acknowledging.

    def acknowledge(self):
        """Says how far this instance is: at once after progress, else six times in a lease. One call at a time."""
        wait = 0.0
        last = 0.0
        while not self.stopping:
            with self.lock:
                due = last + self.ttl / 6
                while not self.stopping and (
                    not self.applied
                    or time.monotonic() < wait
                    or (self.applied == self.acknowledged and not self.receipts and time.monotonic() < due)
                ):
                    self.lock.wait(0.02)
                if self.stopping:
                    return
                subscription, cursor = self.subscription, self.applied
                receipts = list(self.receipts.values())[:500]
                timeout = self.ttl * 0.75
                if "no_deadline" in self.broken:
                    timeout = None
                if "receipts" in self.broken:
                    self.receipts.clear()
            last = time.monotonic()
            # Before the call: what is granted counts from here.
            sent = self.clock.now()
            try:
                answer = self.api.functions["Acknowledge"](
                    timeout=timeout,
                    subscription_id=subscription,
                    applied_cursor=cursor,
                    receipts=receipts,
                )
            except grpc.RpcError as error:
                reason, retry = refusal(error)
                if "hurry" in self.broken:
                    retry = 0.0
                wait = time.monotonic() + max(FIRST_WAIT, retry)
                if "outage" in self.broken and reason == "DATABASE_UNAVAILABLE":
                    self.lease = self.clock.now(), self.ttl
                self.refused(reason, subscription)
                if reason == "CHANGE_NOT_SENT":
                    # They are of a process that the service does not take this one for the next of: no lease is lost for them.
                    with self.lock:
                        self.receipts = {k: v for k, v in self.receipts.items() if v not in receipts}
                continue
            if "from_answer" in self.broken:
                sent = self.clock.now()
            self.granted(answer, subscription, cursor, receipts, sent)

    def granted(self, answer, subscription, cursor, receipts, sent):
        with self.lock:
            if self.subscription == subscription:
                self.acknowledged = cursor
            for receipt in receipts:
                self.receipts.pop(receipt["change_id"], None)
            if answer.HasField("lease_duration"):
                lease = min(answer.lease_duration.ToTimedelta().total_seconds(), self.ttl)
                left = -1.0 if self.lease is None else self.lease[1] - self.clock.since(self.lease[0])
                if lease - self.clock.since(sent) > left:
                    self.lease = sent, lease

    def refused(self, reason, subscription):
        with self.lock:
            if self.subscription != subscription:
                return
            if reason == "SUBSCRIPTION_REPLACED" and "usurp" not in self.broken:
                self.replaced, self.given_up, self.applied = True, True, ""
            elif reason in ("SUBSCRIPTION_CLOSED", "SUBSCRIPTION_NOT_FOUND", "SUBSCRIPTION_REPLACED"):
                # The stream, which belongs to it, is given up, and another one opened.
                self.subscription, self.given_up = "", True
                self.applied = self.applied if "old_cursor" in self.broken else ""

    # What a fork lost.

    def report(self):
        reported, due = set(), 0.0
        while not self.stopping:
            with self.lock:
                lost, subscription = list(self.lost.values()), self.subscription
                new = {one["change_id"] for one in lost} - reported
            if lost and subscription and (new or time.monotonic() > due):
                try:
                    answer = self.api.functions["ReportLostRevocations"](
                        timeout=10, subscription_id=subscription, revocations=lost[:500]
                    )
                    reported |= new
                    with self.lock:
                        resolved = set(answer.resolved_change_ids)
                        self.lost = {
                            key: one for key, one in self.lost.items() if one["change_id"] not in resolved
                        }
                except grpc.RpcError:
                    pass
                due = time.monotonic() + 30
            time.sleep(0.1)

    # Ending.

    def close(self):
        with self.lock:
            # First: from here on it answers nothing.
            self.stopping = True
            self.lock.notify_all()
            subscription, cursor = self.subscription, self.applied
            if self.file and self.state is not None and self.filling is None and self.cursor:
                save(self.file, self.store, self.cursor, self.state, self.revocations, self.lost, self.receipts)
        if subscription and "no_close" not in self.broken:
            self.api.functions["CloseSubscription"](timeout=3, subscription_id=subscription, cursor=cursor)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broken", action="append", choices=BROKEN, default=[])
    parser.add_argument("--list-broken", action="store_true")
    arguments = parser.parse_args()
    if arguments.list_broken:
        for name, clause in BROKEN.items():
            print(name, clause)
        return
    instance = Instance(frozenset(arguments.broken))
    for work in (instance.follow, instance.watch_over, instance.acknowledge, instance.report):
        threading.Thread(target=work, daemon=True).start()
    for line in sys.stdin:
        match line.split():
            case ["check", account, workspace]:
                print(instance.check(account, workspace), flush=True)
            case _:
                print("unknown", flush=True)
    instance.close()


if __name__ == "__main__":
    main()
