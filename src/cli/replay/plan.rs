//! Which row waits for which. Pure.
//!
//! A row uses things (its organization, its person there, its workspace, its account), each either shared with other
//! rows or alone. It waits for the last row before it that used one of them alone, and, where it uses one alone, for all
//! that shared it since:
//!
//! - rows of one person in one organization stay in order;
//! - rows of a workspace come after its creation and before its deletion, and a name is used again only after that;
//! - a row about an owner ([`crate::cli::trace::Part::alone`]) overtakes nothing in its organization and is not overtaken,
//!   so that whether an owner remains never depends on luck;
//! - the row that first names a person creates the account; all others of that person come after it.

use std::collections::HashMap;

use crate::cli::trace::{Op, Row};

/// The order in which rows may be applied.
#[derive(Debug)]
pub(super) struct Plan {
    /// For each row, how many others it waits for.
    pub(super) waits: Vec<usize>,
    /// For each row, who waits for it.
    pub(super) followers: Vec<Vec<usize>>,
}

#[derive(PartialEq, Eq, Hash)]
enum Thing<'a> {
    Organization(&'a str),
    Member(&'a str, &'a str),
    Workspace(&'a str, &'a str),
    Account(&'a str),
}

/// Who used a thing last.
#[derive(Default)]
struct Usage {
    alone: Option<usize>,
    shared_since: Vec<usize>,
}

impl Plan {
    pub(super) fn of(rows: &[Row]) -> Self {
        let mut usages: HashMap<Thing<'_>, Usage> = HashMap::new();
        let mut plan = Self { waits: vec![0; rows.len()], followers: vec![Vec::new(); rows.len()] };
        for (index, row) in rows.iter().enumerate() {
            let mut before = Vec::new();
            for (thing, alone) in things(row) {
                usages.entry(thing).or_default().use_by(index, alone, &mut before);
            }
            before.sort_unstable();
            before.dedup();
            plan.waits[index] = before.len();
            before.into_iter().for_each(|earlier| plan.followers[earlier].push(index));
        }
        plan
    }
}

impl Usage {
    fn use_by(&mut self, index: usize, alone: bool, before: &mut Vec<usize>) {
        // Whoever shared the thing waited for the last one alone already, so either is enough to wait for.
        if alone && !self.shared_since.is_empty() {
            before.append(&mut self.shared_since);
        } else {
            before.extend(self.alone);
        }
        if alone {
            self.alone = Some(index);
        } else {
            self.shared_since.push(index);
        }
    }
}

/// What a row uses, and whether alone.
fn things(row: &Row) -> impl Iterator<Item = (Thing<'_>, bool)> {
    let organization = row.organization.as_str();
    let whole_workspace = matches!(row.op, Op::CreateWorkspace { .. } | Op::DeleteWorkspace { .. });
    let person = row.op.person().into_iter().flat_map(move |person| {
        [(Thing::Member(organization, person), true), (Thing::Account(person), row.part.first_sight)]
    });
    let workspace = row
        .op
        .workspace()
        .map(move |(workspace, _)| (Thing::Workspace(organization, workspace), whole_workspace));
    std::iter::once((Thing::Organization(organization), row.part.alone)).chain(person).chain(workspace)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::trace;

    const HEADER: &str = "time,organization,op,workspace,app,person,role\n";

    fn rows(lines: &[&str]) -> Vec<Row> {
        let lines: String = lines.iter().map(|line| format!("2020-01-01T00:00:00Z,{line}\n")).collect();
        trace::parse(format!("{HEADER}{lines}").as_bytes()).unwrap().rows
    }

    /// Whether `later` is applied after `earlier` in every order that the plan allows.
    fn waits(plan: &Plan, earlier: usize, later: usize) -> bool {
        plan.followers[earlier].iter().any(|next| *next == later || waits(plan, *next, later))
    }

    #[test]
    fn only_rows_that_depend_on_each_other_wait() {
        let rows = rows(&[
            "acme,member.add,,,ada,owner",
            "acme,member.add,,,bob,member",
            "acme,member.add,,,cy,member",
            "acme,workspace.create,w,chat,,",
            "acme,workspace.add,w,chat,bob,member",
            "acme,workspace.add,w,chat,cy,member",
            "acme,workspace.remove,w,chat,bob,",
            "acme,workspace.remove,w,chat,cy,",
            "acme,workspace.delete,w,chat,,",
            "acme,workspace.create,w,boards,,",
            "acme,member.role,,,bob,owner",
            "acme,member.remove,,,cy,",
            "other,member.add,,,bob,owner",
        ]);
        let plan = Plan::of(&rows);
        for (earlier, later) in
            [(0, 1), (0, 3), (3, 4), (1, 4), (4, 6), (6, 8), (7, 8), (8, 9), (9, 10), (10, 11), (1, 12)]
        {
            assert!(waits(&plan, earlier, later), "{later} must wait for {earlier}");
        }
        for (earlier, later) in [(1, 2), (1, 3), (4, 5), (4, 7), (10, 12), (3, 12)] {
            assert!(!waits(&plan, earlier, later), "{later} must not wait for {earlier}");
        }
    }

    proptest! {
        /// Whatever ready row is taken next, all rows come, and each line of dependent rows in its order.
        #[test]
        fn every_order_that_the_plan_allows_is_whole_and_keeps_each_person_in_order(choices in prop::collection::vec(any::<usize>(), 100)) {
            let rows = trace::parse(include_bytes!("../../../demo/trace.csv")).unwrap().rows;
            let mut plan = Plan::of(&rows);
            let mut ready: Vec<usize> = (0..rows.len()).filter(|index| plan.waits[*index] == 0).collect();
            let mut order = Vec::new();
            while !ready.is_empty() {
                let chosen = ready.swap_remove(choices[order.len() % choices.len()] % ready.len());
                order.push(chosen);
                for next in std::mem::take(&mut plan.followers[chosen]) {
                    plan.waits[next] -= 1;
                    if plan.waits[next] == 0 {
                        ready.push(next);
                    }
                }
            }
            prop_assert_eq!(order.len(), rows.len());
            let mut reordered: Vec<Row> = order.iter().map(|index| rows[*index].clone()).collect();
            let mut last = HashMap::new();
            for row in &mut reordered {
                if let Some(person) = row.op.person() {
                    let key = (row.organization.clone(), person.to_owned());
                    prop_assert!(last.insert(key, row.line).is_none_or(|before| before < row.line));
                }
            }
            // What the rules say of the rows in this order is what they say of the file's.
            prop_assert!(trace::check(&mut reordered).is_ok());
        }
    }
}
