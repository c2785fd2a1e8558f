"""What an instance holds: the things of one snapshot and the changes after it, and the file that they are kept in over a restart."""

import base64
import hashlib
import json
import os
import uuid


class Fill:
    """What one snapshot and the changes after it made: the things by kind and ids, each with its highest version."""

    KINDS = {"organization": 1, "workspace": 2, "member": 3, "workspace_member": 4}

    def __init__(self, broken):
        self.things = {}
        self.members = {}
        self.digest = 0
        self.broken = broken
        self.ready_position = None
        self.position = 0
        # The position of the last change: a digest of an earlier one is of something else.
        self.changed = 0

    @property
    def ready(self):
        return self.ready_position is not None and self.position >= self.ready_position

    @staticmethod
    def key(kind, thing):
        if kind == "workspace_member":
            return kind, thing.workspace_id, thing.member_id
        return kind, getattr(thing, kind + "_id")

    def term(self, key, thing):
        """What a thing adds to the digest (C16)."""
        kind = key[0]
        # 1 and 2 are ACTIVE and DEACTIVATED of members and memberships, 1 ACTIVE of organizations and workspaces.
        live = (1, 2) if "member" in kind else (1,)
        if thing.state not in live and "wrong_digest" not in self.broken:
            return 0
        ids = b"".join(uuid.UUID(one).bytes for one in key[1:])
        hashed = bytes([self.KINDS[kind]]) + ids + bytes([thing.state]) + thing.version.to_bytes(8, "big")
        return int.from_bytes(hashlib.sha256(hashed).digest()[:16], "big")

    def put(self, subject, anyway=False):
        """Takes a state, unless it holds that version or a higher one. Says whether it took it."""
        kind = subject.WhichOneof("subject")
        if kind not in self.KINDS:
            return False
        thing = getattr(subject, kind)
        key = self.key(kind, thing)
        held = self.things.get(key)
        if held is not None and thing.version <= held.version and not anyway:
            return False
        self.digest -= self.term(key, held) if held is not None else 0
        self.hold(key, thing)
        return True

    def hold(self, key, thing):
        self.digest += self.term(key, thing)
        self.things[key] = thing
        if key[0] == "member" and thing.account_id:
            self.members[thing.organization_id, thing.account_id] = thing.member_id

    def sum(self):
        return (self.digest % 2**128).to_bytes(16, "big")


def save(path, store, cursor, state, revocations, lost, receipts):
    """Writes it all beside the file, and puts that in its place: half a file is never read."""
    packed = [[key, thing.DESCRIPTOR.full_name, pack(thing)] for key, thing in state.things.items()]
    kept = {"store": store, "cursor": cursor, "position": state.position, "changed": state.changed, "things": packed}
    for name, past in (("revocations", revocations), ("lost", lost)):
        kept[name] = [{**one, "record_time": pack(one["record_time"])} for one in past.values()]
    # Nobody tells a change again that the cursor is past: what is owed for it is kept beside.
    kept["receipts"] = receipts
    with open(path + ".new", "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        json.dump(kept, file)
    os.replace(path + ".new", path)


def load(path, parse, broken):
    """What the file has, with the state under "state". None: there is no file."""
    if not path or not os.path.exists(path):
        return None
    with open(path) as file:
        kept = json.load(file)
    state = Fill(broken)
    state.position, state.changed = kept["position"], kept["changed"]
    state.ready_position = state.position
    for key, kind, packed in kept.pop("things"):
        state.hold(tuple(key), parse(kind, base64.b64decode(packed)))
    kept["state"] = state
    for name in ("revocations", "lost"):
        time = "google.protobuf.Timestamp"
        past = [{**one, "record_time": parse(time, base64.b64decode(one["record_time"]))} for one in kept[name]]
        kept[name] = {(one["member_id"], one["workspace_id"]): one for one in past}
    return kept


def pack(message):
    return base64.b64encode(message.SerializeToString()).decode()
