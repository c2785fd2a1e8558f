//! The binary: what it refuses to start with, who may share what, how it ends, what its log never says, and what it
//! does while its database is away; and as which role it serves.

pub(crate) mod binary;
mod database_away;
mod doctor;
mod ends;
mod pooler;
mod privacy;
mod roles;
mod settings;
