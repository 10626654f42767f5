//! Rows of an HTTP endpoint that answers with JSON, page by page.
//!
//! What is sent may hold secrets, so it goes nowhere but to the endpoint's own origin: no redirect is followed, and a
//! next page elsewhere is an error.

use std::{collections::BTreeMap, time::Duration};

use reqwest::{
    Client, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use url::Url;

use super::{Trouble, row::Row, template::Template};
use crate::config::{ConfigError, Env, Setting, SourceConfig};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const MAX_PAGE_BYTES: usize = 64 << 20;

const MAX_PAGES: usize = 10_000;

/// An endpoint that is ready to be asked.
pub(super) struct Pages {
    client: Client,
    endpoint: Url,
    items: Option<String>,
    next: Option<String>,
}

impl Pages {
    pub(super) fn new(
        config: &SourceConfig,
        env: Env<'_>,
        endpoint: &Setting,
        headers: &BTreeMap<String, Setting>,
    ) -> Result<Self, Trouble> {
        let wrong = |reason: String| ConfigError::Source { table: config.table(), reason };
        let url = Url::parse(endpoint.resolve(env)?.expose_secret()).ok();
        let url = url.filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
        let url = url.ok_or_else(|| wrong("endpoint is not an http:// or https:// URL".into()))?;
        let mut all = HeaderMap::new();
        for (name, setting) in headers {
            let text = header(config, setting, env).map_err(|why| match why {
                Ok(reason) => wrong(format!("header {name}: {reason}")),
                Err(error) => error,
            })?;
            let name =
                HeaderName::try_from(name).map_err(|_| wrong(format!("'{name}' is not a header's name")))?;
            let mut value =
                HeaderValue::try_from(text).map_err(|_| wrong(format!("header {name} cannot be sent")))?;
            value.set_sensitive(true);
            all.insert(name, value);
        }
        // Fails when another provider was chosen before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().default_headers(all).redirect(Policy::none()).user_agent("tenantry");
        let client = client.connect_timeout(CONNECT_TIMEOUT).timeout(config.timeout).build();
        let client = client.map_err(|e| Trouble::Wrong(words(e)))?;
        Ok(Self { client, endpoint: url, items: None, next: None })
    }

    /// Where in an answer the items and the next page's URL are.
    pub(super) fn at(mut self, items: Option<&str>, next: Option<&str>) -> Self {
        self.items = items.map(str::to_owned);
        self.next = next.map(str::to_owned);
        self
    }

    /// Hands out each item of each page.
    pub(super) async fn rows(&self, mut each: impl FnMut(Row)) -> Result<(), Trouble> {
        let mut url = self.endpoint.clone();
        let mut number = 0_u64;
        for _ in 0..MAX_PAGES {
            let page = self.page(&url).await?;
            for item in self.items(&page)? {
                number += 1;
                if !item.is_object() {
                    return Err(Trouble::Wrong(format!("item {number} is not an object")));
                }
                each(Row::of_json(format!("item {number}"), item));
            }
            match self.next(&page, &url)? {
                Some(next) => url = next,
                None => return Ok(()),
            }
        }
        Err(Trouble::Wrong(format!("it has more than {MAX_PAGES} pages")))
    }

    async fn page(&self, url: &Url) -> Result<Value, Trouble> {
        let away = |e: reqwest::Error| Trouble::Away(words(e));
        let mut answer = self.client.get(url.clone()).send().await.map_err(away)?;
        let status = answer.status();
        if status != StatusCode::OK {
            let words = format!("it answers {status}");
            let passes = status.is_server_error()
                || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
            return Err(if passes { Trouble::Away(words) } else { Trouble::Wrong(words) });
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > MAX_PAGE_BYTES {
                return Err(Trouble::Wrong(format!("a page is larger than {} MiB", MAX_PAGE_BYTES >> 20)));
            }
            body.extend_from_slice(&chunk);
        }
        // serde's own words could repeat what is in it.
        serde_json::from_slice(&body).map_err(|e| {
            Trouble::Wrong(format!("its answer is not JSON (line {} column {})", e.line(), e.column()))
        })
    }

    fn items<'a>(&self, page: &'a Value) -> Result<&'a [Value], Trouble> {
        let found = match &self.items {
            Some(path) => field(page, path).ok_or_else(|| format!("its answer has no '{path}'")),
            None => Ok(page),
        };
        let list = found.and_then(|value| {
            let name = self
                .items
                .as_deref()
                .map_or_else(|| "its answer".into(), |path| format!("'{path}' in its answer"));
            value
                .as_array()
                .map(Vec::as_slice)
                .ok_or(format!("{name} is not a list (items is the path to it)"))
        });
        list.map_err(Trouble::Wrong)
    }

    fn next(&self, page: &Value, current: &Url) -> Result<Option<Url>, Trouble> {
        let next = self.next.as_deref().and_then(|path| field(page, path)).and_then(Value::as_str);
        let Some(next) = next.filter(|next| !next.is_empty()) else { return Ok(None) };
        let url = current.join(next).ok().filter(|url| url.origin() == self.endpoint.origin());
        match url {
            Some(url) if url == *current => Err(Trouble::Wrong("a page names itself as the next one".into())),
            Some(url) => Ok(Some(url)),
            None => {
                Err(Trouble::Wrong("the next page is on another server, and nothing is sent there".into()))
            }
        }
    }
}

/// A header's value: as it is where it comes from a variable or a file, else with secrets in place of their names.
fn header(
    config: &SourceConfig,
    setting: &Setting,
    env: Env<'_>,
) -> Result<String, Result<String, ConfigError>> {
    let Some(written) = setting.written() else {
        return Ok(setting.resolve(env).map_err(Err)?.expose_secret().to_owned());
    };
    let template = Template::parse(written).map_err(Ok)?;
    let mut values = BTreeMap::new();
    for name in template.names() {
        if let Some(secret) = config.secrets.get(name) {
            values.insert(name.to_owned(), secret.resolve(env).map_err(Err)?);
        }
    }
    let value = |name: &str| values.get(name).map(|secret| secret.expose_secret().to_owned());
    template.fill(value).map_err(|name| Ok(format!("there is no secret '{name}'")))
}

/// The value at a path: `data.tenants`.
fn field<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, name| value.get(name))
}

/// What went wrong, without the URL, which may hold a secret.
fn words(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let error = error.without_url();
    let causes = std::iter::successors(std::error::Error::source(&error), |e| e.source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}
