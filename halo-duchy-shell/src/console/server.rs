//! The web pages, for reading only. What is read of the store for one is limited.

use std::sync::Arc;

use hyper::StatusCode;
use tokio::net::TcpListener;

use super::page::{Frame, Overview};
use super::{Selection, State, throughput};
use crate::clock::{Clock, Timestamp};
use crate::config::is_valid_id;
use crate::plain_http::{self, Page, Pages};
use crate::shutdown::Shutdown;
use crate::store::{Order, Store, StoreError};

/// Computations in a table.
const ROWS: usize = 50;
/// The largest number of computations before those of a table.
const MOST_SKIPPED: usize = 10_000;
/// Claims shown.
const MOST_CLAIMS: usize = 200;
/// The time over which attempts are counted.
const HOUR: i64 = 60 * 60 * 1000;

const STYLE: &str = include_str!("style.css");
const HTML: &str = "text/html; charset=utf-8";

/// The computations of a duchy as web pages.
#[derive(Debug)]
pub struct Console {
    /// The duchy's id.
    pub duchy: String,
    /// Its computations.
    pub store: Arc<dyn Store>,
    /// Tells how old they are.
    pub clock: Arc<dyn Clock>,
}

/// Why there is no page.
enum Refusal {
    NoSuchPage,
    Store(StoreError),
    Page,
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::NoSuchPage,
            error => Self::Store(error),
        }
    }
}

impl From<std::fmt::Error> for Refusal {
    fn from(_: std::fmt::Error) -> Self {
        Self::Page
    }
}

impl Pages for Console {
    const NAME: &'static str = "the console";
    const ONLY_BY_ADDRESS: bool = true;

    async fn page(&self, path: &str, query: &str) -> Page {
        if path == "/style.css" {
            return Page { status: StatusCode::OK, kind: "text/css; charset=utf-8", body: STYLE.to_owned() };
        }
        match self.read(path, query).await {
            Ok(body) => Page { status: StatusCode::OK, kind: HTML, body },
            Err(Refusal::NoSuchPage) => {
                let text = "There is no such page, or no such computation.";
                self.message(StatusCode::NOT_FOUND, "not found", text)
            }
            Err(Refusal::Store(error)) => {
                tracing::warn!(%error, "the console cannot read the store");
                self.message(StatusCode::SERVICE_UNAVAILABLE, "not now", &error.to_string())
            }
            Err(Refusal::Page) => {
                self.message(StatusCode::INTERNAL_SERVER_ERROR, "not now", "The page is not made.")
            }
        }
    }

    fn message(&self, status: StatusCode, title: &str, text: &str) -> Page {
        Page { status, kind: HTML, body: self.frame().message(title, text).unwrap_or_default() }
    }
}

impl Console {
    /// Serves on `listener` until told to stop.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) {
        plain_http::serve(self, listener, shutdown).await;
    }

    /// What is answered to these bytes: what `fuzz/` calls, and nobody else.
    #[cfg(feature = "fuzzing")]
    #[doc(hidden)]
    pub async fn answer(&self, sent: &[u8]) -> Vec<u8> {
        plain_http::exchange(self, sent).await
    }

    fn frame(&self) -> Frame<'_> {
        Frame { duchy: &self.duchy, now: self.clock.now() }
    }

    async fn read(&self, path: &str, query: &str) -> Result<String, Refusal> {
        let frame = self.frame();
        if path == "/" {
            return Ok(frame.overview(&self.overview(query, frame.now).await?)?);
        }
        let id =
            path.strip_prefix("/computations/").filter(|id| is_valid_id(id)).ok_or(Refusal::NoSuchPage)?;
        Ok(frame.computation(&self.store.record(id).await?)?)
    }

    async fn overview(&self, query: &str, now: Timestamp) -> Result<Overview, Refusal> {
        let (mut state, mut skip) = (None, 0);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "state" => {
                    let found = State::ALL.into_iter().find(|state| state.name() == value);
                    state = Some(found.ok_or(Refusal::NoSuchPage)?);
                }
                "skip" => {
                    let number = value.parse().ok().filter(|skip| *skip <= MOST_SKIPPED);
                    skip = number.ok_or(Refusal::NoSuchPage)?;
                }
                _ => return Err(Refusal::NoSuchPage),
            }
        }
        let selection = Selection {
            states: state.map_or_else(|| State::ALL.to_vec(), |state| vec![state]),
            order: Order::NewestFirst,
            limit: ROWS,
            skip,
            ..Selection::default()
        };
        let claims = Selection {
            states: vec![State::Running, State::Expired],
            limit: MOST_CLAIMS,
            ..Selection::default()
        };
        let hour_ago = Timestamp::from_millis(now.millis().saturating_sub(HOUR));
        let (done, all) = throughput::since(&*self.store, hour_ago).await?;
        Ok(Overview {
            selected: selection.find(&*self.store, now).await?,
            state,
            skip,
            limit: ROWS,
            claimed: claims.find(&*self.store, now).await?,
            done,
            all,
        })
    }
}
