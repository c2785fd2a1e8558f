//! The file of the callers: it is read again when it changes, and a broken one changes nothing.

use std::fs;

use super::{call, is_nobody, mesh};
use crate::{
    server::until,
    support::{CALLERS, CallersFile, create_database},
};

#[tokio::test]
async fn a_changed_file_lets_in_and_keeps_out_and_a_broken_one_does_neither() {
    let database = create_database().await;
    let file = CallersFile::new(CALLERS);
    let service = mesh::service("istio", &database.url, &file, &[]).await;
    let says = |problem: &'static str| service.run.stderr().matches(problem).count();
    let of = |workload| service.channel().calling_as(workload);
    is_nobody(of("newcomer")).await;
    let listed = "[[caller]]\nname = \"newcomer\"\noperator = true\n\
                  spiffe_ids = [\"spiffe://example.org/ns/newcomer/sa/newcomer\"]\n";
    file.write(&format!("{CALLERS}\n{listed}"));
    until("the newcomer is let in", async || call(of("newcomer")).await.is_ok()).await;
    // Those from before stay in force.
    file.write("[[caller]]\nname = \"newcomer\"\noprator = true\n");
    until("the file is called broken", async || says("unknown field `oprator`") == 1).await;
    call(of("newcomer")).await.expect("still let in");
    fs::remove_file(file.path()).expect("removed");
    until("the file is missed", async || says("No such file") == 1).await;
    call(of("newcomer")).await.expect("still let in");
    file.write(CALLERS);
    until("the newcomer is out again", async || call(of("newcomer")).await.is_err()).await;
    is_nobody(of("newcomer")).await;
    call(of("console")).await.expect("the others stay");
    assert_eq!(says("is broken"), 2, "each is told once");
}
