//! The feed's messages with all but a few fields left out: what is not named is skipped without being copied, so that a
//! reader of thousands of streams takes as little of the shared cores as it can.

use http::uri::PathAndQuery;
use rollcall_client::v1::WatchRequest;
use tonic::{Request, Status, Streaming, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

/// A message of a stream.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Message<C: prost::Message + Default + std::fmt::Debug> {
    #[prost(string, tag = "2")]
    pub(crate) cursor: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) page: Option<Page>,
    #[prost(message, optional, tag = "5")]
    pub(crate) end: Option<Position>,
    #[prost(message, optional, tag = "6")]
    pub(crate) batch: Option<Batch<C>>,
    #[prost(message, optional, tag = "7")]
    pub(crate) bookmark: Option<Bookmark>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Page {
    #[prost(message, repeated, tag = "2")]
    pub(crate) subjects: Vec<Nothing>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Nothing {}

/// The end of a snapshot.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Position {
    #[prost(int64, tag = "2")]
    pub(crate) position: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Bookmark {
    #[prost(int64, tag = "1")]
    pub(crate) position: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Batch<C: prost::Message + Default + std::fmt::Debug> {
    #[prost(message, repeated, tag = "1")]
    pub(crate) changes: Vec<C>,
}

/// Of a change: where it stands.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Placed {
    #[prost(int64, tag = "2")]
    pub(crate) position: i64,
}

/// Of a change: when it was recorded.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Timed {
    #[prost(message, optional, tag = "6")]
    pub(crate) recorded: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

/// Of a change: of which member, and which version of it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OfMember {
    #[prost(message, optional, tag = "5")]
    pub(crate) subject: Option<Subject>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Subject {
    #[prost(message, optional, tag = "3")]
    pub(crate) member: Option<Member>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Member {
    #[prost(string, tag = "2")]
    pub(crate) member_id: String,
    #[prost(int64, tag = "6")]
    pub(crate) version: i64,
}

/// Opens a stream.
pub(crate) async fn watch<C: prost::Message + Default + std::fmt::Debug + 'static>(
    channel: Channel,
    request: WatchRequest,
) -> Result<Streaming<Message<C>>, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(16 * 1024 * 1024);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static("/rollcall.v1.FeedService/Watch");
    let codec = ProstCodec::<WatchRequest, Message<C>>::default();
    Ok(grpc.server_streaming(Request::new(request), path, codec).await?.into_inner())
}
