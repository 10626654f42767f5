//! One dedicated database: its URL from the variables that applications already have.

use url::Url;

use super::{ConfigError, Env};

/// The URL of the one database that the environment names: `DATABASE_URL`, or `DB_HOST` with its companions
/// `DB_CONNECTION` (or `DB_DIALECT`), `DB_PORT`, `DB_DATABASE` (or `DB_NAME`), `DB_USERNAME` (or `DB_USER`)
/// and `DB_PASSWORD`; for SQLite `DB_CONNECTION=sqlite` with the file in `DB_DATABASE`. None when neither is set.
///
/// # Errors
/// When `DB_HOST` is set and the others do not make a URL with it.
pub fn dedicated_url(env: Env<'_>) -> Result<Option<String>, ConfigError> {
    if let Some(url) = env("DATABASE_URL") {
        return Ok(Some(url));
    }
    let either = |a: &str, b: &str| env(a).or_else(|| env(b));
    if either("DB_CONNECTION", "DB_DIALECT").as_deref() == Some("sqlite") {
        let file = either("DB_DATABASE", "DB_NAME").ok_or_else(|| {
            ConfigError::Dedicated("DB_CONNECTION is sqlite and DB_DATABASE is not set".into())
        })?;
        return Ok(Some(format!("sqlite:{file}")));
    }
    let Some(host) = env("DB_HOST") else { return Ok(None) };
    let missing = |names: &str| ConfigError::Dedicated(format!("DB_HOST is set and {names} is not"));
    let dialect =
        either("DB_CONNECTION", "DB_DIALECT").ok_or_else(|| missing("DB_CONNECTION (postgres or mysql)"))?;
    let scheme = match dialect.as_str() {
        "pgsql" | "postgres" | "postgresql" => "postgres",
        "mysql" | "mariadb" => "mysql",
        _ => {
            return Err(ConfigError::Dedicated(format!(
                "DB_CONNECTION is '{dialect}' (expected postgres, mysql or sqlite)"
            )));
        }
    };
    let database = either("DB_DATABASE", "DB_NAME").ok_or_else(|| missing("DB_DATABASE"))?;
    let broken =
        || ConfigError::Dedicated("DB_HOST, DB_PORT, DB_USERNAME and DB_PASSWORD do not make a URL".into());
    let mut url = Url::parse(&format!("{scheme}://{host}")).map_err(|_| broken())?;
    if let Some(port) = env("DB_PORT") {
        url.set_port(Some(port.parse().map_err(|_| broken())?)).map_err(|()| broken())?;
    }
    url.set_username(&either("DB_USERNAME", "DB_USER").unwrap_or_default()).map_err(|()| broken())?;
    url.set_password(env("DB_PASSWORD").as_deref()).map_err(|()| broken())?;
    url.path_segments_mut().map_err(|()| broken())?.push(&database);
    Ok(Some(url.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(pairs: &[(&str, &str)]) -> Result<Option<String>, ConfigError> {
        dedicated_url(&|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn parts_make_a_url_with_everything_encoded() {
        let parts = [
            ("DB_HOST", "db"),
            ("DB_CONNECTION", "pgsql"),
            ("DB_PORT", "6432"),
            ("DB_NAME", "a b"),
            ("DB_USER", "u"),
            ("DB_PASSWORD", "p@/s"),
        ];
        assert_eq!(url(&parts).unwrap().unwrap(), "postgres://u:p%40%2Fs@db:6432/a%20b");
        assert_eq!(
            url(&[("DATABASE_URL", "sqlite:a.db"), ("DB_HOST", "db")]).unwrap().unwrap(),
            "sqlite:a.db"
        );
        let sqlite = [("DB_CONNECTION", "sqlite"), ("DB_DATABASE", "/srv/a.db"), ("DB_HOST", "ignored")];
        assert_eq!(url(&sqlite).unwrap().unwrap(), "sqlite:/srv/a.db");
        assert!(url(&[]).unwrap().is_none());
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = url(&[("DB_HOST", "db"), ("DB_CONNECTION", "mysql")]).unwrap_err();
        assert_eq!(error.to_string(), "DB_HOST is set and DB_DATABASE is not");
    }
}
