//! The numbered rules, through the API and on a real Postgres. Each test carries the numbers of its rules.

mod account_deletion;
mod departures;
mod erased_content;
mod erasing;
mod invitations;
mod leaving;
mod ledger;
mod limits;
mod organization_deletion;
mod organization_departures;
mod permissions;
mod plans;
mod reactivation;
mod removal;
mod rendering;
mod repetitions;
mod seats;
mod settings;
mod states;
mod structure;
mod successors;
mod tables;
mod time;
mod workspace_departures;
