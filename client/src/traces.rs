//! What an instance does because of a change, as a part of the trace in which the change was made.
//!
//! The spans are those of `tracing`, for whatever the app reads its spans with. That they hang below the span of another
//! process is what the feature `otel` is for: with it, and with a layer of `tracing-opentelemetry` in the app, they belong
//! to the trace of the call that made the change. Without it they are spans of this process alone.
//!
//! No span carries more than ids and the names of app and instance.

use std::collections::HashSet;

use tracing::Span;

use crate::{
    Revocation,
    v1::{Change, ChangeBatch},
};

/// Of so many commands a batch has spans at most: no reader of traces needs more of one moment.
const SPANS: usize = 64;

/// The spans of the commands of a batch that are in a trace, from here until they are dropped.
pub(crate) fn applying(batch: &ChangeBatch, app: &str, instance: &str) -> Vec<Span> {
    let mut seen = HashSet::new();
    let traced = batch.changes.iter().filter(|change| !change.traceparent.is_empty());
    let first = traced.filter(|change| seen.insert(change.command_id.as_str()));
    first.take(SPANS).map(|change| apply_span(change, app, instance)).collect()
}

fn apply_span(change: &Change, app: &str, instance: &str) -> Span {
    let span = tracing::info_span!(
        "apply",
        otel.kind = "consumer",
        app,
        instance,
        command.id = %change.command_id,
        log.position = change.position,
    );
    continued(span, &change.traceparent)
}

/// The span around the app's handler, where the revocation is in a trace.
pub(crate) fn handling(revocation: &Revocation, app: &str) -> Span {
    let (Some(traceparent), Some(change)) = (&revocation.traceparent, revocation.change) else {
        return Span::none();
    };
    let span =
        tracing::info_span!("handle", app, change.id = %change.change_id, log.position = change.position);
    continued(span, traceparent)
}

#[cfg(not(feature = "otel"))]
fn continued(span: Span, _: &str) -> Span {
    span
}

#[cfg(feature = "otel")]
fn continued(span: Span, traceparent: &str) -> Span {
    otel::continue_trace(&span, traceparent);
    span
}

/// The two directions between spans and texts.
#[cfg(feature = "otel")]
pub(crate) mod otel {
    use opentelemetry::{
        Context,
        trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
    };
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    /// The characters of a traceparent of version 00.
    const LENGTH: usize = 55;

    /// Puts a span that was not entered yet below the one that a [W3C traceparent] names. What is none is ignored, and a
    /// `tracestate` is not taken: it is somebody else's text.
    ///
    /// [W3C traceparent]: https://www.w3.org/TR/trace-context/#traceparent-header
    pub fn continue_trace(span: &Span, traceparent: &str) {
        if let Some(parent) = parse(traceparent) {
            // An error says that nobody collects spans, or that this one is not meant.
            let _ = span.set_parent(Context::new().with_remote_span_context(parent));
        }
    }

    /// A span as a W3C traceparent, to send it with a call. `None` where it is not recorded.
    #[must_use]
    pub fn traceparent(span: &Span) -> Option<String> {
        let context = span.context();
        let context = context.span().span_context().clone();
        (context.is_valid() && context.is_sampled())
            .then(|| format!("00-{}-{}-01", context.trace_id(), context.span_id()))
    }

    fn parse(text: &str) -> Option<SpanContext> {
        let known = text.get(..LENGTH)?;
        let more = &text[LENGTH..];
        let mut parts = known.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lengths = [version, trace, span, flags].map(str::len);
        let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if lengths != [2, 32, 16, 2] || parts.next().is_some() || !known.split('-').all(is_hex) {
            return None;
        }
        // A later version may say more behind a dash; `ff` is none.
        let is_of_version = match version {
            "ff" => false,
            "00" => more.is_empty(),
            _ => more.is_empty() || more.starts_with('-'),
        };
        let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
        let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
        let context = SpanContext::new(trace, span, flags, true, TraceState::default());
        (is_of_version && context.is_valid()).then_some(context)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        const SPAN: &str = "00f067aa0ba902b7";

        #[test]
        fn a_traceparent_is_read_as_the_specification_says() {
            let sampled = parse(&format!("00-{TRACE}-{SPAN}-01")).expect("a traceparent");
            assert_eq!(
                (sampled.trace_id().to_string(), sampled.span_id().to_string()),
                (TRACE.into(), SPAN.into())
            );
            assert!(sampled.is_sampled() && sampled.is_remote());
            let not_sampled = parse(&format!("00-{TRACE}-{SPAN}-02")).expect("a traceparent");
            assert!(!not_sampled.is_sampled());
            assert!(parse(&format!("cc-{TRACE}-{SPAN}-01-what-comes-later")).is_some());
        }

        #[test]
        fn what_is_no_traceparent_is_ignored() {
            let nothing = [
                String::new(),
                "alice@example.com".to_owned(),
                format!("00-{TRACE}-{SPAN}"),
                format!("00-{TRACE}-{SPAN}-01-more"),
                format!("cc-{TRACE}-{SPAN}-01more"),
                format!("ff-{TRACE}-{SPAN}-01"),
                format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
                format!("00-{}-{SPAN}-01", "0".repeat(32)),
                format!("00-{TRACE}-{}-01", "0".repeat(16)),
                format!("00-{TRACE}-+{}-01", &SPAN[1..]),
                format!("00-{TRACE}{SPAN}--01"),
                "é".repeat(LENGTH),
            ];
            for text in nothing {
                assert!(parse(&text).is_none(), "{text}");
            }
        }
    }
}
