//! A **fake** of Google Cloud Storage: the calls of its XML API that `object_store` makes, answered from memory as
//! Google's documentation says (docs/blobs.md lists them with their pages). Without authentication. What it does not
//! know it answers with 501, so that a test notices.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_RANGE, ETAG, HeaderName, IF_MATCH, LAST_MODIFIED, RANGE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};
use tokio::net::TcpListener;

/// The only bucket.
pub const BUCKET: &str = "halo-test";

/// Objects that one page of a list has, where Google's has 1000: so every list takes several.
const PAGE: usize = 3;

/// Bytes that every part but the last has at least.
const LEAST_PART: usize = 5 << 20;

const GENERATION: HeaderName = HeaderName::from_static("x-goog-generation");
const IF_GENERATION_MATCH: &str = "x-goog-if-generation-match";

/// A server that runs as long as the tokio runtime that it was started on.
pub struct FakeGcs {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    /// Parts by number, of uploads by id.
    uploads: BTreeMap<String, (String, BTreeMap<usize, Bytes>)>,
    generation: u64,
    /// What is wrong with the first read of every object, and the objects that have been read so.
    bad_reads: Option<BadRead>,
    badly_read: BTreeSet<String>,
}

/// What can be wrong with a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "not every test has bad reads")]
pub enum BadRead {
    /// It is refused, in a way that clients do not try again by themselves.
    Refused,
    /// The server fails.
    Failed,
    /// The first half of the object is given for the whole.
    Truncated,
    /// One bit is another.
    Altered,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    generation: u64,
    modified: SystemTime,
}

impl FakeGcs {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let serve = service_fn(move |request| answer(Arc::clone(&state), request));
                // A connection that is cut is no concern of the server's.
                let serving =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve);
                tokio::spawn(async move { drop(serving.await) });
            }
        });
        Self { address, state }
    }

    /// Where it listens: `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Has the first read of every object from now on go wrong; or none any more.
    #[allow(dead_code, reason = "not every test has bad reads")]
    pub fn read_badly(&self, how: Option<BadRead>) {
        let mut state = self.state.lock().expect("a state");
        state.bad_reads = how;
        state.badly_read.clear();
    }

    /// Objects whose first read went wrong since then.
    #[allow(dead_code, reason = "not every test has bad reads")]
    pub fn bad_reads(&self) -> usize {
        self.state.lock().expect("a state").badly_read.len()
    }

    /// Uploads that have been neither completed nor aborted.
    #[allow(dead_code, reason = "not every test counts them")]
    pub fn unfinished_uploads(&self) -> usize {
        self.state.lock().expect("a state").uploads.len()
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        // The request was cut: nobody hears the answer.
        return Ok(error(StatusCode::BAD_REQUEST, "IncompleteBody"));
    };
    let query: BTreeMap<String, String> = head
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(&value.replace('+', " ")))
        })
        .collect();
    let path = head.uri.path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().expect("ASCII").to_owned());
    if decoded(bucket) != BUCKET {
        return Ok(error(StatusCode::NOT_FOUND, "NoSuchBucket"));
    }
    let names: Vec<_> = query.keys().map(String::as_str).collect();
    let (key, body) = (decoded(key), body.to_bytes());
    let mut state = state.lock().expect("a state");
    Ok(match (&head.method, names.as_slice()) {
        (&Method::PUT, []) => state.put(key, body, header(IF_GENERATION_MATCH)),
        (&Method::POST, ["uploads"]) => state.initiate(key),
        (&Method::PUT, ["partNumber", "uploadId"]) => {
            state.put_part(&query["uploadId"], &query["partNumber"], body)
        }
        (&Method::POST, ["uploadId"]) => state.complete(&query["uploadId"], &body),
        (&Method::DELETE, ["uploadId"]) => match state.uploads.remove(&query["uploadId"]) {
            Some(_) => empty(StatusCode::NO_CONTENT),
            None => error(StatusCode::NOT_FOUND, "NoSuchUpload"),
        },
        (&Method::GET, []) if !key.is_empty() && state.goes_wrong(&key) => {
            state.get_badly(&key, header(RANGE.as_str()), header(IF_MATCH.as_str()))
        }
        (&Method::GET | &Method::HEAD, []) if !key.is_empty() => {
            state.get(&key, header(RANGE.as_str()), header(IF_MATCH.as_str()), head.method == Method::HEAD)
        }
        (&Method::DELETE, []) => match state.objects.remove(&key) {
            Some(_) => empty(StatusCode::NO_CONTENT),
            None => error(StatusCode::NOT_FOUND, "NoSuchKey"),
        },
        (&Method::GET, _)
            if key.is_empty() && query.get("list-type").is_some_and(|version| version == "2") =>
        {
            state.list(&query)
        }
        _ => error(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
    })
}

impl State {
    fn insert(&mut self, key: String, bytes: Bytes) -> Object {
        self.generation += 1;
        let object = Object { bytes, generation: self.generation, modified: SystemTime::now() };
        self.objects.insert(key, object.clone());
        object
    }

    fn put(&mut self, key: String, bytes: Bytes, if_generation: Option<String>) -> Answer {
        // 0 stands for an object that is not there.
        let generation = self.objects.get(&key).map_or(0, |object| object.generation);
        if if_generation.is_some_and(|wanted| wanted != generation.to_string()) {
            return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        }
        let object = self.insert(key, bytes);
        tagged(empty(StatusCode::OK), &object)
    }

    fn initiate(&mut self, key: String) -> Answer {
        self.generation += 1;
        let id = format!("upload/{}+", self.generation);
        let text = format!(
            "<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{}</Key><UploadId>{id}</UploadId>\
             </InitiateMultipartUploadResult>",
            escaped(&key)
        );
        self.uploads.insert(id, (key, BTreeMap::new()));
        xml(text)
    }

    fn put_part(&mut self, id: &str, number: &str, bytes: Bytes) -> Answer {
        let Some((_, parts)) = self.uploads.get_mut(id) else {
            return error(StatusCode::NOT_FOUND, "NoSuchUpload");
        };
        match number.parse() {
            Ok(number @ 1..=10_000) => {
                let tag = part_tag(number, &bytes);
                parts.insert(number, bytes);
                let mut answer = empty(StatusCode::OK);
                answer.headers_mut().insert(ETAG, tag.parse().expect("a header"));
                answer
            }
            _ => error(StatusCode::BAD_REQUEST, "InvalidArgument"),
        }
    }

    fn complete(&mut self, id: &str, body: &Bytes) -> Answer {
        let Some((key, parts)) = self.uploads.get(id) else {
            return error(StatusCode::NOT_FOUND, "NoSuchUpload");
        };
        let text = String::from_utf8_lossy(body);
        let named: Vec<_> = text
            .split("<Part>")
            .skip(1)
            .map(|part| (field(part, "PartNumber"), field(part, "ETag")))
            .collect();
        let mut whole = Vec::new();
        let mut last = 0;
        for (index, (number, tag)) in named.iter().enumerate() {
            let Some(part) =
                number.parse().ok().and_then(|number: usize| Some((number, parts.get(&number)?)))
            else {
                return error(StatusCode::BAD_REQUEST, "InvalidPart");
            };
            let (number, bytes) = part;
            if *tag != part_tag(number, bytes) {
                return error(StatusCode::BAD_REQUEST, "InvalidPart");
            }
            if number <= last {
                return error(StatusCode::BAD_REQUEST, "InvalidPartOrder");
            }
            if index + 1 < named.len() && bytes.len() < LEAST_PART {
                return error(StatusCode::BAD_REQUEST, "EntityTooSmall");
            }
            last = number;
            whole.extend_from_slice(bytes);
        }
        if named.is_empty() {
            return error(StatusCode::BAD_REQUEST, "MalformedCompleteMultipartUploadRequest");
        }
        let key = key.clone();
        self.uploads.remove(id);
        let object = self.insert(key, whole.into());
        let text = format!(
            "<CompleteMultipartUploadResult><Bucket>{BUCKET}</Bucket><ETag>{}</ETag></CompleteMultipartUploadResult>",
            object.tag()
        );
        tagged(xml(text), &object)
    }

    /// Whether this read is one that goes wrong.
    fn goes_wrong(&mut self, key: &str) -> bool {
        self.bad_reads.is_some() && self.objects.contains_key(key) && self.badly_read.insert(key.to_owned())
    }

    fn get_badly(&self, key: &str, range: Option<String>, if_match: Option<String>) -> Answer {
        let change = |change: fn(&mut Vec<u8>)| {
            let mut altered = self.objects[key].clone();
            let mut bytes = altered.bytes.to_vec();
            change(&mut bytes);
            altered.bytes = bytes.into();
            let objects = BTreeMap::from([(key.to_owned(), altered)]);
            Self { objects, ..Self::default() }.get(key, range, if_match, false)
        };
        match self.bad_reads {
            Some(BadRead::Refused) | None => error(StatusCode::FORBIDDEN, "AccessDenied"),
            Some(BadRead::Failed) => error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
            Some(BadRead::Truncated) => change(|bytes| bytes.truncate(bytes.len() / 2)),
            Some(BadRead::Altered) => change(|bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }),
        }
    }

    fn get(&self, key: &str, range: Option<String>, if_match: Option<String>, head: bool) -> Answer {
        let Some(object) = self.objects.get(key) else {
            return error(StatusCode::NOT_FOUND, "NoSuchKey");
        };
        if if_match.is_some_and(|tag| tag != object.tag()) {
            return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        }
        let size = object.bytes.len();
        let Some(range) = range else {
            let body = if head { Bytes::new() } else { object.bytes.clone() };
            let mut answer = tagged(Response::new(Full::new(body)), object);
            // Of the object, also where the body is left out.
            answer.headers_mut().insert(hyper::header::CONTENT_LENGTH, size.into());
            return answer;
        };
        let bounds = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
        let (start, end) = bounds.expect("a range of bytes");
        let start: usize = start.parse().expect("a number");
        let end = end.parse().map_or(size, |last: usize| size.min(last + 1));
        if start >= size {
            return error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
        }
        let mut answer = tagged(Response::new(Full::new(object.bytes.slice(start..end))), object);
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        let value = format!("bytes {start}-{}/{size}", end - 1);
        answer.headers_mut().insert(CONTENT_RANGE, value.parse().expect("a header"));
        answer
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Answer {
        let of = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let known = ["list-type", "prefix", "continuation-token", "start-after"];
        if query.keys().any(|name| !known.contains(&name.as_str())) {
            return error(StatusCode::NOT_IMPLEMENTED, "NotImplemented");
        }
        // A token is the last name of the page before.
        let after = of("start-after").max(of("continuation-token"));
        let mut found =
            self.objects.iter().filter(|(key, _)| key.starts_with(of("prefix")) && key.as_str() > after);
        let page: Vec<_> = found.by_ref().take(PAGE).collect();
        let truncated = found.next().is_some();
        let mut text =
            format!("<ListBucketResult><Name>{BUCKET}</Name><IsTruncated>{truncated}</IsTruncated>");
        if truncated && let Some((last, _)) = page.last() {
            text += &format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(last));
        }
        for (key, object) in page {
            let modified = OffsetDateTime::from(object.modified).format(&Rfc3339).expect("a time");
            text += &format!(
                "<Contents><Key>{}</Key><Generation>{}</Generation><LastModified>{modified}</LastModified>\
                 <ETag>{}</ETag><Size>{}</Size></Contents>",
                escaped(key),
                object.generation,
                escaped(&object.tag()),
                object.bytes.len()
            );
        }
        xml(text + "</ListBucketResult>")
    }
}

impl Object {
    fn tag(&self) -> String {
        format!("\"{}\"", self.generation)
    }
}

fn part_tag(number: usize, bytes: &Bytes) -> String {
    format!("\"{number}-{}\"", bytes.len())
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let after = text.split_once(&format!("<{name}>")).map_or("", |(_, after)| after);
    after.split_once("</").map_or("", |(value, _)| value)
}

fn tagged(mut answer: Answer, object: &Object) -> Answer {
    let modified = OffsetDateTime::from(object.modified).format(&Rfc2822).expect("a time");
    let headers = answer.headers_mut();
    headers.insert(ETAG, object.tag().parse().expect("a header"));
    headers.insert(GENERATION, object.generation.into());
    headers.insert(LAST_MODIFIED, modified.replace("+0000", "GMT").parse().expect("a header"));
    answer
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

fn xml(text: String) -> Answer {
    Response::new(Full::new(Bytes::from(format!("<?xml version='1.0' encoding='UTF-8'?>{text}"))))
}

fn error(status: StatusCode, code: &str) -> Answer {
    let mut answer = xml(format!("<Error><Code>{code}</Code></Error>"));
    *answer.status_mut() = status;
    answer
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
                hex::decode(digits).expect("digits")[0]
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).expect("UTF-8")
}
