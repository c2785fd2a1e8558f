//! `rollcall demo` as whoever tries Rollcall first sees it.

use crate::processes::run_well;

#[tokio::test]
async fn the_demo_shows_that_out_means_out_also_with_a_frozen_app() {
    let shown = run_well(["demo", "--no-color"]).await;
    for wanted in [
        "Noor and Sven have 2 sessions open in each app",
        "has ended 2 sessions",
        "does not answer; its lease of 2 s is over, so it lets nobody in",
        "boards wakes up. Asked about Sven, whom it had let in, its first answer is",
        "demo: OK",
    ] {
        assert!(shown.contains(wanted), "no {wanted:?} in:\n{shown}");
    }
    assert_eq!(shown.matches("no app lets them in any more").count(), 2, "{shown}");
    assert_eq!(shown.matches(" equal\n").count(), 3, "{shown}");
}
