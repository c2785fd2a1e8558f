"""A collector of traces and metrics, by the definitions that OpenTelemetry publishes: `otlp.py PORT MODE`. Port 0 picks a
free one.

Says where it listens, and then each span that it receives, and all metrics that came together, as a line of JSON. MODE is how
it answers: `take` as one should, `refuse` with an error of many words, `reject` as if it had taken nothing, `traces` as one
that knows traces alone.
"""

import json
import sys
import threading
from concurrent import futures

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

# Whole lines, and first of all where it listens.
saying = threading.Lock()


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


def measured(request):
    """Each series with all that is said of it. Numbers as texts: so they are read as they were sent."""
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                data = getattr(metric, kind)
                temporality = getattr(data, "aggregation_temporality", None)
                for point in data.data_points:
                    said = {
                        "resource": text(resource.resource.attributes),
                        "scope": scope.scope.name,
                        "name": metric.name,
                        "description": metric.description,
                        "unit": metric.unit,
                        "kind": kind,
                        "monotonic": getattr(data, "is_monotonic", None),
                        "temporality": temporality and metrics_pb2.AggregationTemporality.Name(temporality),
                        "attributes": text(point.attributes),
                        "begun": point.start_time_unix_nano,
                        "at": point.time_unix_nano,
                    }
                    if kind == "histogram":
                        said |= {
                            "bounds": [repr(bound) for bound in point.explicit_bounds],
                            "counts": list(point.bucket_counts),
                            "count": point.count,
                            "sum": repr(point.sum),
                        }
                    else:
                        said["value"] = repr(getattr(point, point.WhichOneof("value")))
                    yield said


class Collector:
    """Answers as its mode says, and says what it received."""

    def __init__(self, mode, lines, answer, rejected):
        self.mode, self.lines, self.answer, self.rejected = mode, lines, answer, rejected

    def Export(self, request, context):
        lines, number = self.lines(request)
        if self.mode == "refuse":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room for what you say " * 100)
        answer = self.answer()
        if self.mode == "reject":
            setattr(answer.partial_success, self.rejected, number)
            answer.partial_success.error_message = "nothing of it is of any use"
            return answer
        with saying:
            for line in lines:
                print(json.dumps(line), flush=True)
        return answer


def of_traces(request):
    spans = list(told(request))
    return spans, len(spans)


def of_metrics(request):
    points = list(measured(request))
    return [{"metrics": points, "bytes": request.ByteSize()}], len(points)


def main():
    port, mode = sys.argv[1:]
    server = grpc.server(futures.ThreadPoolExecutor(2))
    traces = Collector(mode, of_traces, trace_service_pb2.ExportTraceServiceResponse, "rejected_spans")
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(traces, server)
    if mode != "traces":
        answer = metrics_service_pb2.ExportMetricsServiceResponse
        metrics = Collector(mode, of_metrics, answer, "rejected_data_points")
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(metrics, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    with saying:
        server.start()
        print(f"listening on {port}", flush=True)
    server.wait_for_termination()


main()
