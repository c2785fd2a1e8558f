//! Whoever owns the database can write a whole chain anew, and then it holds. A head that was exported before says
//! otherwise.

use std::{fs, path::Path, time::Duration};

use rollcall::audit::heads::{HeadsExport, HeadsKey};
use tempfile::TempDir;

use super::{all, broken, holds};
use crate::{
    fixtures::World,
    processes::{run, run_badly},
    server::until,
    support::{Database, Replica, Server, create_database},
};

const SECRET: &[u8; 32] = b"not in the database, nor beside.";

/// What `chain_audit()` does, from a position on: what an owner of the database would do after changing an entry.
const CHAIN_ANEW: &str = "
    DO $$
    DECLARE
        running bytea := '';
        e record;
    BEGIN
        FOR e IN SELECT * FROM audit_entries ORDER BY position LOOP
            running := sha256(running || convert_to(concat_ws('|',
                e.position, floor(extract(epoch FROM e.record_time) * 1000000)::bigint, coalesce(e.caller, ''),
                coalesce(encode(e.actor, 'hex'), ''), e.method, coalesce(e.request_id::text, ''),
                coalesce(e.command_id::text, ''), coalesce(e.organization_id::text, ''), e.outcome, e.times), 'UTF8'));
            UPDATE audit_entries SET hash = running WHERE position = e.position;
        END LOOP;
        UPDATE audit_head SET hash = running, position = (SELECT max(position) FROM audit_entries);
    END $$";

/// The same of the log, with `sequence_changes()`.
const SEQUENCE_ANEW: &str = "
    DO $$
    DECLARE
        running bytea := '';
        b record;
    BEGIN
        FOR b IN SELECT * FROM batches ORDER BY last_position LOOP
            SELECT sha256(running || string_agg(convert_to(concat_ws('|',
                position, change_id, command_id, organization_id, array_to_string(apps, ','), subject,
                coalesce(workspace_id::text, ''), coalesce(member_id::text, ''), state, coalesce(role, ''), version,
                reason, caller, coalesce(acting_member_id::text, ''), floor(extract(epoch FROM record_time) * 1000000)::bigint,
                coalesce(leaving::text, ''), coalesce(tombstone_id::text, ''), coalesce(handover_to_member_id::text, ''),
                coalesce(assignments, '')), 'UTF8'), '\\x0a'::bytea ORDER BY position))
            INTO running FROM changes WHERE position BETWEEN b.first_position AND b.last_position;
            UPDATE batches SET hash = running WHERE last_position = b.last_position;
        END LOOP;
        UPDATE log_head SET hash = running;
    END $$";

/// A place for a file of heads and its key.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("key"), SECRET).expect("a key");
        Self { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("heads")).expect("the heads");
        text.lines().map(str::to_owned).collect()
    }

    fn export(&self) -> HeadsExport {
        let key = HeadsKey::new(SECRET);
        assert!(key.is_some());
        HeadsExport { file: Some(self.path("heads").into()), key, every: Duration::from_secs(300) }
    }
}

/// A store with something in it, and its heads from before and after: each start of a service exports them.
async fn exported(place: &Place) -> Database {
    let database = Server::exporting(create_database().await, place.export()).await.stop().await;
    let world = World::on(Server::on(database).await).await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.acting(&org.owner).deactivate(&org, &bob).await.expect("deactivated");
    all(&world).await;
    let database = world.stop().await;
    let database = Server::exporting(database, place.export()).await.stop().await;
    let lines = place.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("\"log_position\":0,"), "{lines:?}");
    database
}

#[tokio::test]
async fn a_chain_that_was_written_anew_is_found_by_an_exported_head() {
    let place = Place::new();
    let database = exported(&place).await;
    let (heads, key) = (place.path("heads"), place.path("key"));
    let with_heads = ["--heads", &heads, "--heads-key-file", &key];
    let said = holds(&database, &with_heads).await;
    assert!(said.contains("heads: 2 exported heads are those of the chains"), "{said}");
    assert!(!said.contains("WARNING"), "{said}");
    let (untouched, audit) = database.copy().await;
    let altered = "UPDATE audit_entries SET caller = 'somebody-else' WHERE position = 5";
    audit.client.batch_execute(altered).await.expect("altered");
    broken(&audit, &[]).await;
    audit.client.batch_execute(CHAIN_ANEW).await.expect("chained anew");
    holds(&audit, &[]).await;
    let said = broken(&audit, &with_heads).await;
    assert!(
        said.starts_with("heads: BROKEN: line 2 of ") && said.contains("has another hash at entry "),
        "{said}"
    );
    let (untouched, log) = untouched.copy().await;
    log.client
        .batch_execute("UPDATE changes SET caller = 'somebody-else' WHERE position = 2")
        .await
        .expect("altered");
    broken(&log, &[]).await;
    log.client.batch_execute(SEQUENCE_ANEW).await.expect("sequenced anew");
    holds(&log, &[]).await;
    let said = broken(&log, &with_heads).await;
    assert!(
        said.starts_with("heads: BROKEN: line 2 of ") && said.contains("has another hash at change "),
        "{said}"
    );
    // The end cut off, with a head that fits.
    let cut = "DELETE FROM audit_entries WHERE position = (SELECT position FROM audit_head)";
    untouched.client.batch_execute(cut).await.expect("cut");
    broken(&untouched, &[]).await;
    untouched.client.batch_execute(CHAIN_ANEW).await.expect("chained anew");
    holds(&untouched, &[]).await;
    let said = broken(&untouched, &with_heads).await;
    assert!(said.contains("it was exported at entry ") && said.contains("the end was removed"), "{said}");
}

/// Removes the audit up to an entry, as trimming would, before its time.
async fn remove_entries(database: &Database, floor: i64) {
    let removed = format!(
        "UPDATE audit_head SET floor_position = {floor},
             floor_hash = (SELECT hash FROM audit_entries WHERE position = {floor});
         DELETE FROM audit_entries WHERE position <= {floor};
         DELETE FROM audit_actors a WHERE NOT EXISTS (SELECT FROM audit_entries e WHERE e.actor = a.actor)"
    );
    database.client.batch_execute(&removed).await.expect("removed");
}

/// The heads with other times, so many days ago, and without their seals.
fn aged(lines: &[String], days: &[i64]) -> String {
    let aged = lines.iter().zip(days).map(|(line, days)| {
        let mut head: serde_json::Value = serde_json::from_str(line).expect("JSON");
        head["time"] = (chrono::Utc::now() - chrono::TimeDelta::days(*days)).to_rfc3339().into();
        head.as_object_mut().expect("an object").remove("mac").expect("it was sealed");
        format!("{head}\n")
    });
    aged.collect()
}

#[tokio::test]
async fn what_was_removed_before_its_time_is_found_by_an_exported_head() {
    let place = Place::new();
    let database = exported(&place).await;
    let (heads, key) = (place.path("heads"), place.path("key"));
    let with_heads = ["--heads", &heads, "--heads-key-file", &key];
    let head = database.client.query_one("SELECT position FROM audit_head", &[]).await.expect("a head");
    let head: i64 = head.get(0);
    // A part of the audit, and all of it: the chains alone cannot tell that from trimming.
    let (database, some) = database.copy().await;
    let (database, all) = database.copy().await;
    for (store, floor) in [(&some, 5), (&all, head)] {
        remove_entries(store, floor).await;
        let said = holds(store, &[]).await;
        let warned = format!("audit: WARNING: everything up to entry {floor} is gone, and ");
        assert!(said.contains(&warned) && said.contains("although it is kept for 730 days"), "{said}");
        assert_eq!(said.contains("nothing is left that can be checked"), floor == head, "{said}");
        let said = broken(store, &with_heads).await;
        assert!(said.starts_with("heads: BROKEN: line 1 of "), "{said}");
        assert!(said.contains(&format!("everything up to entry {floor} is gone: what came after")), "{said}");
        assert!(said.ends_with("removed too early, for it is kept for 730 days"), "{said}");
        let for_ever = [with_heads.as_slice(), &["--audit-retention-days", "0"]].concat();
        assert!(broken(store, &for_ever).await.ends_with("for it is kept for ever"));
    }
    // A part of the log.
    let middle =
        "SELECT max(last_position) FROM batches WHERE last_position < (SELECT position FROM log_head)";
    let floor: i64 = database.client.query_one(middle, &[]).await.expect("a batch").get(0);
    let removed = format!(
        "UPDATE log_floor SET position = {floor}, change_id = (SELECT change_id FROM changes WHERE position = {floor});
         DELETE FROM changes WHERE position <= {floor};
         DELETE FROM batches WHERE last_position < {floor}"
    );
    database.client.batch_execute(&removed).await.expect("removed");
    let said = holds(&database, &[]).await;
    assert!(said.contains(&format!("log: WARNING: everything up to change {floor} is gone, and ")), "{said}");
    let said = broken(&database, &with_heads).await;
    assert!(said.contains(&format!("everything up to change {floor} is gone: what came after")), "{said}");
    assert!(said.ends_with("removed too early, for it is kept for 30 days"), "{said}");
    // What was old enough was trimmed: a head that is old shows it, and one that is young leaves it open.
    let lines = place.lines();
    for (days, is_open) in [([800, 799], false), ([800, 0], true)] {
        fs::write(&heads, aged(&lines, &days)).expect("written");
        let said = holds(&some, &["--heads", &heads]).await;
        assert!(said.contains("heads: 1 exported heads are those of the chains; 1 older than"), "{said}");
        assert_eq!(said.contains("audit: WARNING: everything up to entry 5 is gone"), is_open, "{said}");
    }
    // The same file, where more is kept.
    let longer = ["--heads", &heads, "--audit-retention-days", "900"];
    assert!(broken(&some, &longer).await.ends_with("for it is kept for 900 days"));
}

#[tokio::test]
async fn seals_that_nobody_checks_are_mentioned() {
    let place = Place::new();
    let database = exported(&place).await;
    let heads = place.path("heads");
    // Made up, as far as a seal goes.
    let mut second: serde_json::Value = serde_json::from_str(&place.lines()[1]).expect("JSON");
    second["mac"] = "00".into();
    fs::write(&heads, format!("{}\n{second}\n", place.lines()[0])).expect("written");
    let said = holds(&database, &["--heads", &heads]).await;
    assert!(said.contains("heads: WARNING: 2 of 2 are sealed, and the seals were not checked"), "{said}");
    let said = broken(&database, &["--heads", &heads, "--heads-key-file", &place.path("key")]).await;
    assert!(said.starts_with("heads: BROKEN: line 2 is not sealed with this key"), "{said}");
    // Where nothing is sealed there is nothing to check.
    fs::write(&heads, aged(&place.lines()[..1], &[0])).expect("written");
    assert!(!holds(&database, &["--heads", &heads]).await.contains("WARNING"));
}

#[tokio::test]
async fn heads_that_were_touched_are_refused() {
    let place = Place::new();
    let database = exported(&place).await;
    let (heads, key) = (place.path("heads"), place.path("key"));
    let lines = place.lines();
    let rewrite = |lines: &[String]| fs::write(&heads, lines.join("\n") + "\n").expect("written");
    let sealed = ["--heads", &heads, "--heads-key-file", &key];
    // Made to fit a chain that was written anew: whoever has no key cannot seal it.
    let hash = lines[1].split("\"audit_hash\":\"").nth(1).and_then(|rest| rest.get(..64)).expect("a hash");
    rewrite(&[lines[0].clone(), lines[1].replace(hash, &"0".repeat(64))]);
    let said = broken(&database, &sealed).await;
    assert!(said.starts_with("heads: BROKEN: line 2 is not sealed with this key"), "{said}");
    rewrite(&["{}".to_owned()]);
    assert_eq!(broken(&database, &sealed).await, "heads: BROKEN: line 1 is no head");
    fs::write(&heads, b"\xff\n").expect("written");
    assert!(broken(&database, &["--heads", &heads]).await.ends_with("line 1 is no head"));
    fs::write(&heads, "").expect("written");
    assert!(broken(&database, &["--heads", &heads]).await.ends_with("has none"));
    // A head of another store, which is sealed as it should be.
    exported(&place).await;
    assert!(broken(&database, &sealed).await.contains("it is of another store"));
    // What cannot be read is no verdict.
    let none = Path::new(&heads).with_extension("none");
    let none = none.to_str().expect("UTF-8");
    let errors = run_badly(["audit", "verify", "--database-url", &database.url, "--heads", none]).await;
    assert!(errors.starts_with("rollcall audit verify: cannot read "), "{errors}");
    fs::write(&key, "short").expect("written");
    let arguments =
        ["audit", "verify", "--database-url", &database.url, "--heads", &heads, "--heads-key-file", &key];
    assert!(run_badly(arguments).await.contains("at least 32 bytes"));
}

/// Somebody was killed while writing. What came before and after is compared all the same.
#[tokio::test]
async fn a_head_that_was_cut_off_is_said_and_hides_no_other() {
    let place = Place::new();
    let database = exported(&place).await;
    let (heads, key) = (place.path("heads"), place.path("key"));
    let sealed = ["--heads", &heads, "--heads-key-file", &key];
    let [first, second] = &place.lines()[..] else { panic!("two heads") };
    let half = &second[..second.len() / 2];
    // At the end; with zeros, which a power failure leaves; and where the end of the line alone is missing.
    fs::write(&heads, format!("{first}\n{second}\n{half}")).expect("written");
    let said = holds(&database, &sealed).await;
    assert!(said.contains("heads: line 3 was cut off while it was written\n"), "{said}");
    assert!(said.contains("heads: 2 exported heads are those of the chains"), "{said}");
    fs::write(&heads, format!("{first}\n{half}\0\0\0\n{half}\n{second}")).expect("written");
    let said = holds(&database, &sealed).await;
    assert!(said.contains("heads: line 2 was cut off while it was written, and so were 1 others"), "{said}");
    assert!(said.contains("heads: 2 exported heads are those of the chains"), "{said}");
    // It excuses none of the others, and nothing but such lines is nothing.
    fs::write(
        &heads,
        format!("{first}\n{half}\n{}", second.replace("\"audit_position\":", "\"audit_position\":1")),
    )
    .expect("written");
    assert!(
        broken(&database, &sealed).await.starts_with("heads: BROKEN: line 3 is not sealed with this key")
    );
    fs::write(&heads, half).expect("written");
    assert!(broken(&database, &sealed).await.ends_with("has none"));
    // The next service begins a new line after it.
    fs::write(&heads, format!("{first}\n{second}\n{half}")).expect("written");
    let database = Server::exporting(database, place.export()).await.stop().await;
    assert_eq!(place.lines().len(), 4);
    let said = holds(&database, &sealed).await;
    assert!(said.contains("heads: line 3 was cut off while it was written\n"), "{said}");
    assert!(said.contains("heads: 3 exported heads are those of the chains"), "{said}");
    // And no empty line after a whole one.
    Server::exporting(database, place.export()).await.stop().await;
    assert_eq!(place.lines().len(), 5);
}

#[tokio::test]
async fn a_service_says_the_heads_in_its_log_and_in_the_file() {
    let place = Place::new();
    let database = create_database().await;
    let (heads, key) = (place.path("heads"), place.path("key"));
    let replica = Replica::start(
        &database.url,
        &[
            "--audit-heads-file",
            &heads,
            "--audit-heads-key-file",
            &key,
            "--audit-heads-interval-seconds",
            "1",
        ],
    )
    .await;
    until("three heads", async || Path::new(&heads).exists() && place.lines().len() >= 3).await;
    let said = holds(&database, &["--heads", &heads, "--heads-key-file", &key]).await;
    assert!(said.contains("exported heads are those of the chains"), "{said}");
    let log = replica.log();
    let line = log.lines().find(|line| line.contains("heads of log and audit")).expect("a line of the log");
    let first: serde_json::Value = serde_json::from_str(&place.lines()[0]).expect("JSON");
    assert!(line.contains(first["mac"].as_str().expect("a seal")), "the same as in the file: {line}");
}

#[tokio::test]
async fn a_key_that_is_too_short_or_not_there_is_refused_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let (data, key) = (directory.path().join("data"), directory.path().join("key"));
    let (data, key) = (data.to_str().expect("UTF-8"), key.to_str().expect("UTF-8"));
    let serve = ["serve", "--data-dir", data, "--audit-heads-key-file", key];
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let output = run(serve).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("cannot read"), "{}", said(&output));
    fs::write(key, "31 bytes, and a line end of it.\n").expect("written");
    let output = run(serve).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("at least 32 bytes"), "{}", said(&output));
    assert!(!Path::new(data).exists(), "nothing was begun");
}
