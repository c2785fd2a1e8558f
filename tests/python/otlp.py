"""A collector of traces, by the definitions that OpenTelemetry publishes: `otlp.py PORT MODE`. Port 0 picks a free one.

Says where it listens, and then each span that it receives as a line of JSON. MODE is how it answers: `take` as one should,
`refuse` with an error of many words, `reject` as if it had taken nothing.
"""

import json
import sys
from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2


def text(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def told(request):
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield {
                    "service": text(resource.resource.attributes).get("service.name"),
                    "name": span.name,
                    "kind": trace_pb2.Span.SpanKind.Name(span.kind),
                    "trace_id": span.trace_id.hex(),
                    "span_id": span.span_id.hex(),
                    "parent_span_id": span.parent_span_id.hex(),
                    "attributes": text(span.attributes),
                    "events": len(span.events),
                    "trace_state": span.trace_state,
                    "nanos": span.end_time_unix_nano - span.start_time_unix_nano,
                }


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, mode):
        self.mode = mode

    def Export(self, request, context):
        spans = list(told(request))
        if self.mode == "refuse":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room for what you say " * 100)
        answer = trace_service_pb2.ExportTraceServiceResponse()
        if self.mode == "reject":
            answer.partial_success.rejected_spans = len(spans)
            answer.partial_success.error_message = "nothing of it is of any use"
            return answer
        for span in spans:
            print(json.dumps(span), flush=True)
        return answer


def main():
    port, mode = sys.argv[1:]
    server = grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Collector(mode), server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print(f"listening on {port}", flush=True)
    server.wait_for_termination()


main()
