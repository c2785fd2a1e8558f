"""A client that others wrote: the gRPC library of Python, which knows this API only by server reflection.

Usage: client.py HOST:PORT. Prints `ok NAME` for each thing that works, and ends with 0 only if all of them do.
"""

import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

# Longer than any answer takes.
ANSWER = 20
# Longer than a stream is read.
STREAM = 40


class Api:
    """The methods of the service, as reflection describes them."""

    def __init__(self, channel):
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)

    def call(self, method, timeout=ANSWER, **fields):
        service, name = method.split("/")
        service = "rollcall.v1." + service
        described = self.pool.FindServiceByName(service).methods_by_name[name]
        request = message_factory.GetMessageClass(described.input_type)
        response = message_factory.GetMessageClass(described.output_type)
        kind = self.channel.unary_stream if described.server_streaming else self.channel.unary_unary
        function = kind(
            f"/{service}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        return function(request(**fields), timeout=timeout)

    def value(self, enum, name):
        return self.pool.FindEnumTypeByName("rollcall.v1." + enum).values_by_name[name].number


def ok(name):
    print(f"ok {name}", flush=True)


def equal(got, expected):
    assert got == expected, f"{got!r} is not {expected!r}"


def refused(call):
    """The error of a call, which must be one."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call was not refused")


def details(error):
    """The details of an error, by the names of their types."""
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    equal((status.code, status.message), (error.code().value[0], error.details()))
    found = {}
    for packed in status.details:
        kind = packed.TypeName().rsplit(".")[-1]
        detail = getattr(error_details_pb2, kind)()
        assert packed.Unpack(detail)
        found[kind] = detail
    return found


def until(stream, fits):
    """Takes messages of a stream until one fits; the stream's deadline bounds it."""
    for message in stream:
        if fits(message):
            return message
    raise AssertionError("the stream ended")


def change_of(message, member):
    """The change of this member's membership in the message, where there is one."""
    for change in message.batch.changes:
        row = change.subject.workspace_member
        if change.subject.WhichOneof("subject") == "workspace_member" and row.member_id == member:
            return change
    return None


def health(channel, services):
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest
    serving = health_pb2.HealthCheckResponse.SERVING

    # First, since a service that has just begun may not be serving yet.
    watch = stub.Watch(request(service=""), timeout=STREAM)
    until(watch, lambda message: message.status == serving)
    watch.cancel()
    ok("health_watch")

    equal(stub.Check(request(service=""), timeout=ANSWER).status, serving)
    ok("health_check_overall")
    for service in services:
        if service.startswith("rollcall."):
            equal(stub.Check(request(service=service), timeout=ANSWER).status, serving)
    ok("health_check_each_service")
    unknown = refused(lambda: stub.Check(request(service="no.such.Service"), timeout=ANSWER))
    equal(unknown.code(), grpc.StatusCode.NOT_FOUND)
    ok("health_check_unknown_service")


def found(api):
    """An app, an organization, its workspace, and Bob in it."""
    equal(api.call("AppService/RegisterApp", app="chat").app.name, "chat")
    ok("register_app")
    ada, bob = (
        api.call("AccountService/CreateAccount", email=email).account.account_id
        for email in ("ada@example.com", "bob@example.com")
    )
    ok("create_accounts")
    created = api.call(
        "OrganizationService/CreateOrganization",
        display_name="Analytical Engines",
        owner_account_id=ada,
        first_workspace={"app": "chat", "display_name": "general"},
    )
    organization = created.organization.organization_id
    ok("create_organization")
    workspace = api.call(
        "OrganizationService/CreateWorkspace", organization_id=organization, app="chat", display_name="random"
    ).workspace.workspace_id
    ok("create_workspace")
    member = api.call(
        "MemberService/AddMember",
        organization_id=organization,
        account_id=bob,
        role=api.value("OrganizationRole", "ORGANIZATION_ROLE_MEMBER"),
    ).member.member_id
    ok("add_member")
    added = api.call(
        "MemberService/AddWorkspaceMember",
        organization_id=organization,
        workspace_id=workspace,
        member_id=member,
        role=api.value("WorkspaceRole", "WORKSPACE_ROLE_MEMBER"),
    )
    equal(added.workspace_member.state, api.value("WorkspaceMemberState", "WORKSPACE_MEMBER_STATE_ACTIVE"))
    ok("add_workspace_member")
    return organization, member


def follow(api, organization, member):
    stream = api.call("FeedService/Watch", timeout=STREAM, app="chat", instance="python-1")
    opened = next(stream).opened
    assert opened.subscription_id and opened.snapshot_follows
    rows = []

    def ended(message):
        rows.extend(message.snapshot_page.subjects)
        return message.WhichOneof("message") == "snapshot_end"

    end = until(stream, ended)
    kinds = [row.WhichOneof("subject") for row in rows]
    equal(
        {kind: kinds.count(kind) for kind in kinds},
        {"organization": 1, "workspace": 2, "member": 2, "workspace_member": 2},
    )
    assert end.cursor
    ok("watch_snapshot")

    api.call("MemberService/DeactivateMember", organization_id=organization, member_id=member)
    ok("deactivate")
    deactivated = api.value("WorkspaceMemberState", "WORKSPACE_MEMBER_STATE_DEACTIVATED")
    change = change_of(until(stream, lambda message: change_of(message, member)), member)
    equal(change.subject.workspace_member.state, deactivated)
    equal(change.reason, api.value("ChangeReason", "CHANGE_REASON_DEACTIVATED_WITH_ORGANIZATION"))
    ok("watch_change")

    stream.cancel()
    equal(refused(lambda: until(stream, lambda message: False)).code(), grpc.StatusCode.CANCELLED)
    ok("stream_cancelled")

    # From before the change: it comes again, the same.
    stream = api.call(
        "FeedService/Watch",
        timeout=STREAM,
        app="chat",
        instance="python-1",
        subscription_id=opened.subscription_id,
        cursor=end.cursor,
    )
    again = next(stream)
    equal((again.opened.subscription_id, again.opened.snapshot_follows), (opened.subscription_id, False))
    equal(again.previous_cursor, end.cursor)
    last = until(stream, lambda message: change_of(message, member))
    equal(change_of(last, member).change_id, change.change_id)
    ok("resume_after_cursor")

    stored = api.call(
        "FeedService/Acknowledge", subscription_id=opened.subscription_id, applied_cursor=last.cursor
    )
    assert stored.applied_position >= change.position, stored
    listed = api.call("FeedService/ListSubscriptions", app="chat").subscriptions
    equal([(one.instance, one.applied_position) for one in listed], [("python-1", stored.applied_position)])
    ok("acknowledge")
    stream.cancel()

    stream = api.call("FeedService/Watch", timeout=2, app="chat")
    error = refused(lambda: until(stream, lambda message: False))
    equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
    ok("deadline_exceeded")


def errors(api):
    error = refused(lambda: api.call("AppService/RegisterApp", app="chat"))
    equal(error.code(), grpc.StatusCode.ALREADY_EXISTS)
    info = details(error)["ErrorInfo"]
    equal((info.reason, info.domain), ("APP_EXISTS", "rollcall.v1"))
    ok("error_info")
    error = refused(lambda: api.call("OrganizationService/GetOrganization", organization_id="acme"))
    equal(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
    found = details(error)
    equal(found["ErrorInfo"].reason, "INVALID_FIELD")
    equal([violation.field for violation in found["BadRequest"].field_violations], ["organization_id"])
    ok("bad_request")


def main(address):
    # A proxy of whoever runs this has nothing to do with it.
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        api = Api(channel)
        services = list(api.database.get_services())
        for name in ("App", "Account", "Organization", "Member", "Feed"):
            assert f"rollcall.v1.{name}Service" in services, services
        ok("list_services")
        health(channel, services)
        organization, member = found(api)
        follow(api, organization, member)
        errors(api)


if __name__ == "__main__":
    main(sys.argv[1])
