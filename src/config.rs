//! Placeholder.

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:7400")]
    pub listen: String,
    /// Data directory
    #[arg(long)]
    pub data_dir: Option<std::path::PathBuf>,
    /// Database
    #[arg(long)]
    pub database_url: Option<String>,
}

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
pub struct MigrateArgs {
    /// Database
    #[arg(long)]
    pub database_url: Option<String>,
}
