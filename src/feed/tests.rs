//! Tests of the feed on an in-memory log, with time paused.
