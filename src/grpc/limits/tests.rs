//! Buckets, who is remembered, and turns.

use super::*;

fn name(text: &str) -> CallerName {
    text.parse().expect("a name")
}

fn limits() -> CallLimits {
    CallLimits { reads: 10, writes: 5, ..CallLimits::default() }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_gives_what_was_saved_and_then_its_rate() {
    let mut bucket = Bucket::default();
    let begun = Instant::now();
    let given =
        |bucket: &mut Bucket| (0..1_000).take_while(|_| bucket.take(Instant::now(), 10, 2).is_ok()).count();
    assert_eq!(given(&mut bucket), 20, "two seconds' worth at once");
    let wait = bucket.take(Instant::now(), 10, 2).expect_err("empty");
    assert_eq!(wait, Duration::from_millis(100));
    tokio::time::advance(wait).await;
    assert_eq!(given(&mut bucket), 1, "what it said is so");
    for _ in 0..50 {
        tokio::time::advance(Duration::from_millis(300)).await;
        assert_eq!(given(&mut bucket), 3);
    }
    assert!(!bucket.is_full(Instant::now()));
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert!(bucket.is_full(Instant::now()));
    assert_eq!(given(&mut bucket), 20, "an hour saves no more than two seconds");
    assert!(begun.elapsed() > Duration::from_secs(3_600));
}

#[test]
fn a_rate_of_zero_is_no_limit() {
    let mut bucket = Bucket::default();
    assert!((0..10_000).all(|_| bucket.take(Instant::now(), 0, 2).is_ok()));
}

#[tokio::test(start_paused = true)]
async fn callers_and_kinds_are_counted_apart() {
    let counts = Counts::new(limits(), 8);
    let now = Instant::now();
    let taken = |caller: &str, kind| {
        let account = counts.account(&name(caller), now);
        (0..1_000).take_while(|_| counts.take(&name(caller), &account, kind, now).is_ok()).count()
    };
    assert_eq!(taken("chat", Kind::Read), 20);
    assert_eq!(taken("chat", Kind::Read), 0);
    assert_eq!(taken("chat", Kind::Write), 10);
    assert_eq!(taken("boards", Kind::Read), 20);
}

#[tokio::test(start_paused = true)]
async fn so_many_callers_are_remembered_and_no_more() {
    let counts = Counts::new(limits(), 8);
    let take = |caller: &str| {
        let account = counts.account(&name(caller), Instant::now());
        counts.take(&name(caller), &account, Kind::Read, Instant::now()).is_ok()
    };
    for number in 0..10 * CALLERS {
        take(&format!("caller-{number}"));
    }
    assert_eq!(locked(&counts.callers).known.len(), CALLERS);
    assert!(!take("another-one"), "who comes then shares what is left with all others");
    assert!(take("caller-0"), "who is remembered does not notice");
    // Whoever has a stream open is not forgotten with the others.
    let kept = counts.account(&name("caller-7"), Instant::now());
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(take("another-one"));
    let callers = locked(&counts.callers);
    assert_eq!(callers.known.len(), 2, "whoever was silent is forgotten");
    assert!(Arc::ptr_eq(&callers.known[&name("caller-7")], &kept));
}

#[tokio::test(start_paused = true)]
async fn turns_are_waited_for_and_passed_on() {
    let account = Account::new(&limits(), 2);
    let first = account.turn().await.expect("a turn");
    let _second = account.turn().await.expect("another");
    let begun = Instant::now();
    let refused = account.turn().await.err().expect("none in time");
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert_eq!(begun.elapsed(), PATIENCE);
    let mut call = Extensions::new();
    call.insert(first);
    let (third, ()) = tokio::join!(account.turn(), async { Turn::pass(&call) });
    assert!(third.is_ok());
    drop(third);
}

#[tokio::test(start_paused = true)]
async fn streams_that_come_back_leave_turns_to_calls() {
    let account = Arc::new(Account::new(&limits(), 4));
    let call = |opens| {
        let mut call = Extensions::new();
        call.insert(Turns { account: Arc::clone(&account), opens });
        call
    };
    let (opens, asks) = (call(true), call(false));
    let opening = [turn(&opens).await.expect("a turn"), turn(&opens).await.expect("another")];
    let third = tokio::time::timeout(10 * PATIENCE, turn(&opens)).await;
    assert!(third.is_err(), "half of the turns, and then as long a wait as somebody has patience");
    let asking = [turn(&asks).await.expect("a turn"), turn(&asks).await.expect("another")];
    assert!(asking.iter().chain(&opening).all(Option::is_some));
    assert!(turn(&asks).await.is_err(), "all of them are taken");
    drop(opening);
    assert!(turn(&opens).await.is_ok_and(|taken| taken.is_some()));
    assert!(turn(&Extensions::new()).await.is_ok_and(|taken| taken.is_none()), "nobody who is counted");
}

#[tokio::test(start_paused = true)]
async fn so_many_calls_wait_and_no_more() {
    let account = Arc::new(Account::new(&limits(), 2));
    let held = [account.turn().await.expect("a turn"), account.turn().await.expect("another")];
    for _ in 0..2 * WAITING {
        let account = Arc::clone(&account);
        tokio::spawn(async move { account.turn().await.map(drop) });
    }
    while account.waiting.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    assert!(account.turn().await.is_err());
    assert_eq!(begun.elapsed(), Duration::ZERO, "told at once");
    drop(held);
    assert!(account.turn().await.is_err(), "those who wait come first");
}

#[test]
fn every_method_is_of_the_kind_that_it_should_be() {
    let kinds = Kinds::new();
    for (method, kind) in [
        ("FeedService/Watch", Kind::Opening),
        ("FeedService/AwaitEnforcement", Kind::Opening),
        ("FeedService/Acknowledge", Kind::Acknowledgement),
        ("AccessService/BatchCheckAccess", Kind::Check),
        ("MemberService/DeactivateMember", Kind::Write),
        ("MemberService/ListMembers", Kind::Read),
        ("MemberService/ReportActivity", Kind::Read),
    ] {
        assert_eq!(kinds.of(&format!("rollcall.v1.{method}")), kind, "{method}");
    }
}
