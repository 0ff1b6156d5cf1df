//! Plugins' keys and values in a real Redis. Built with the feature `redis-server` only, because it needs one.

// Lets lints know that all of it is tests, helpers too.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use rust_proxy_stream::kv::{KeyValue, KvError, Quota, no_count};
use rust_proxy_testkit::{RedisServer, Script, ScriptedUpstream, Setup, TestGateway, deltas};
use rust_proxy_upstream::{Redis, RedisOptions};

const QUOTA: Quota = Quota { bytes: 1000, keys: 10 };
const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

fn connect(url: &str) -> Redis {
    // Long: these tests are not about a busy machine.
    let timeout = Duration::from_secs(5);
    Redis::new(RedisOptions { url: url.to_owned(), prefix: "test:".to_owned(), timeout }).unwrap()
}

fn namespace(server: &RedisServer) -> Arc<dyn KeyValue> {
    connect(&server.url()).namespace("a", QUOTA)
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A client of the tests' own.
async fn client(server: &RedisServer) -> MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn command<T: redis::FromRedisValue>(client: &mut MultiplexedConnection, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    words[1..].iter().for_each(|word| {
        command.arg(*word);
    });
    command.query_async(client).await.unwrap()
}

/// Lets a key of the plugin `a` expire, as if its time had come.
async fn expire(client: &mut MultiplexedConnection, key: &str) {
    let _: i64 = command(client, &["ZADD", "test:{a}:ends", "1", key]).await;
    let _: i64 = command(client, &["PEXPIREAT", &format!("test:{{a}}:v:{key}"), "1"]).await;
}

#[tokio::test]
async fn values_are_kept_replaced_and_deleted() {
    let server = RedisServer::start().await;
    let kv = namespace(&server);
    assert_eq!(kv.get("k").await, Ok(None));
    let binary = Bytes::from((0..=255).collect::<Vec<u8>>());
    kv.set("k", binary.clone(), None).await.unwrap();
    assert_eq!(kv.get("k").await, Ok(Some(binary)));
    kv.set("k", text("other"), None).await.unwrap();
    assert_eq!(kv.get("k").await, Ok(Some(text("other"))));
    assert_eq!(
        (kv.delete("k").await, kv.delete("k").await, kv.get("k").await),
        (Ok(true), Ok(false), Ok(None))
    );
}

#[tokio::test]
async fn an_expiry_is_rediss_own() {
    let server = RedisServer::start().await;
    let (kv, mut client) = (namespace(&server), client(&server).await);
    let left = async |client: &mut MultiplexedConnection, key: &str| {
        command::<i64>(client, &["TTL", &format!("test:{{a}}:v:{key}")]).await
    };
    kv.set("k", text("x"), MINUTE).await.unwrap();
    assert!((50..=60).contains(&left(&mut client, "k").await));
    kv.set("k", text("x"), None).await.unwrap();
    assert_eq!(left(&mut client, "k").await, -1);
    kv.set("k", text("x"), Some(Duration::from_secs(u32::MAX.into()))).await.unwrap();
    assert!(left(&mut client, "k").await > 4_000_000_000);
    // A count keeps the expiry that it began with.
    kv.increment("n", 1, MINUTE).await.unwrap();
    kv.increment("n", 1, Some(Duration::from_secs(6000))).await.unwrap();
    assert!((50..=60).contains(&left(&mut client, "n").await));
    kv.increment("m", 1, None).await.unwrap();
    kv.increment("m", 1, MINUTE).await.unwrap();
    assert_eq!(left(&mut client, "m").await, -1);
    expire(&mut client, "n").await;
    assert_eq!(kv.increment("n", 7, None).await, Ok(7));
}

#[tokio::test]
async fn counts_stay_within_32_bits_and_other_values_are_none() {
    let server = RedisServer::start().await;
    let kv = namespace(&server);
    assert_eq!(kv.increment("n", u32::MAX, None).await, Ok(u32::MAX));
    assert_eq!(kv.increment("n", 1, None).await, Err(KvError::TooLarge));
    assert_eq!(kv.increment("n", 0, None).await, Ok(u32::MAX));
    assert_eq!(kv.get("n").await, Ok(Some(text("4294967295"))));
    for other in ["", "00", "01", "+1", "-1", "1 ", "1.0", "1e3", "4294967296", "99999999999", "one"] {
        kv.set("k", text(other), None).await.unwrap();
        assert_eq!(kv.increment("k", 1, None).await, Err(no_count()), "{other:?}");
        assert_eq!(kv.get("k").await, Ok(Some(text(other))));
    }
}

#[tokio::test]
async fn gateways_that_count_together_lose_nothing() {
    let server = RedisServer::start().await;
    let counting = (0..10).map(|_| {
        let kv = namespace(&server);
        tokio::spawn(async move {
            for _ in 0..50 {
                kv.increment("n", 1, MINUTE).await.unwrap();
            }
        })
    });
    for gateway in counting.collect::<Vec<_>>() {
        gateway.await.unwrap();
    }
    assert_eq!(namespace(&server).increment("n", 0, None).await, Ok(500));
}

#[tokio::test]
async fn gateways_together_do_not_get_past_a_quota() {
    let server = RedisServer::start().await;
    let filling = (0..20).map(|number| {
        let kv = namespace(&server);
        // 100 bytes each, key and value, of which 10 fit; more would be too many keys, too.
        tokio::spawn(async move { kv.set(&format!("k{number:02}"), text(&"x".repeat(97)), MINUTE).await })
    });
    let mut fit = 0;
    for gateway in filling.collect::<Vec<_>>() {
        match gateway.await.unwrap() {
            Ok(()) => fit += 1,
            Err(error) => assert_eq!(error, KvError::Quota),
        }
    }
    assert_eq!(fit, 10);
}

#[tokio::test]
async fn a_quota_counts_bytes_and_keys_and_frees_what_is_gone() {
    let server = RedisServer::start().await;
    let (kv, mut client) = (namespace(&server), client(&server).await);
    kv.set("a", text(&"x".repeat(899)), MINUTE).await.unwrap();
    assert_eq!(kv.set("b", text(&"x".repeat(100)), None).await, Err(KvError::Quota));
    assert_eq!(kv.get("b").await, Ok(None));
    kv.set("b", text(&"x".repeat(99)), None).await.unwrap();
    assert_eq!(kv.increment("c", 1, None).await, Err(KvError::Quota));
    // What shrinks always may; what expired or was deleted counts no more.
    kv.set("b", text("x"), None).await.unwrap();
    expire(&mut client, "a").await;
    kv.set("b", text(&"x".repeat(999)), None).await.unwrap();
    kv.delete("b").await.unwrap();
    for number in 0..10 {
        kv.increment(&format!("n{number}"), 1, None).await.unwrap();
    }
    assert_eq!(kv.increment("n10", 1, None).await, Err(KvError::Quota));
    assert_eq!(kv.increment("n9", 1, None).await, Ok(2));
    // Another gateway with a smaller quota lets nothing grow, and a larger one more.
    let other = connect(&server.url());
    assert_eq!(
        other.namespace("a", Quota { bytes: 1, ..QUOTA }).increment("n9", 8, None).await,
        Err(KvError::Quota)
    );
    assert_eq!(other.namespace("a", Quota { keys: 11, ..QUOTA }).increment("n10", 1, None).await, Ok(1));
}

/// The account may be too high, never too low, and mends itself.
#[tokio::test]
async fn what_others_remove_stays_counted_until_it_is_written() {
    let server = RedisServer::start().await;
    let (kv, mut client) = (namespace(&server), client(&server).await);
    kv.set("a", text(&"x".repeat(899)), None).await.unwrap();
    let _: i64 = command(&mut client, &["DEL", "test:{a}:v:a"]).await;
    assert_eq!(kv.get("a").await, Ok(None));
    assert_eq!(kv.set("b", text(&"x".repeat(200)), None).await, Err(KvError::Quota));
    assert_eq!(kv.delete("a").await, Ok(false));
    kv.set("b", text(&"x".repeat(200)), None).await.unwrap();
    // All that is left of a plugin without keys is its sum.
    kv.delete("b").await.unwrap();
    let left: Vec<String> = command(&mut client, &["KEYS", "*"]).await;
    assert_eq!(left, ["test:{a}:sizes"]);
    let sum: i64 = command(&mut client, &["HGET", "test:{a}:sizes", ""]).await;
    assert_eq!(sum, 0);
}

#[tokio::test]
async fn a_change_drops_so_many_expired_keys_and_its_own_in_any_case() {
    let server = RedisServer::start().await;
    let (redis, mut client) = (connect(&server.url()), client(&server).await);
    let kv = redis.namespace("a", Quota { bytes: 10_000, keys: 10_000 });
    kv.set("k", text(&"x".repeat(499)), MINUTE).await.unwrap();
    kv.set("n", text("5"), MINUTE).await.unwrap();
    // 2500 keys that expired earlier than those two.
    let others = "for n = 1, 2500 do
        redis.call('HSET', KEYS[1], 'other' .. n, 1)
        redis.call('HINCRBY', KEYS[1], '', 1)
        redis.call('ZADD', KEYS[2], 1, 'other' .. n)
    end";
    let _: () = command(&mut client, &["EVAL", others, "2", "test:{a}:sizes", "test:{a}:ends"]).await;
    for key in ["k", "n"] {
        expire(&mut client, key).await;
        let _: i64 = command(&mut client, &["ZADD", "test:{a}:ends", "2", key]).await;
    }
    let left =
        async |client: &mut MultiplexedConnection| command::<i64>(client, &["ZCARD", "test:{a}:ends"]).await;
    // 1500 bytes are left of the others. What expired does not let its key grow past a quota.
    let smaller = redis.namespace("a", Quota { bytes: 1600, keys: 10_000 });
    assert_eq!(smaller.set("k", text(&"x".repeat(399)), None).await, Err(KvError::Quota));
    assert_eq!(left(&mut client).await, 1501);
    assert_eq!(kv.get("k").await, Ok(None));
    assert_eq!(kv.increment("n", 7, None).await, Ok(7));
    assert_eq!(left(&mut client).await, 500);
    assert_eq!(kv.delete("k").await, Ok(false));
    assert_eq!(left(&mut client).await, 0);
    let sum: i64 = command(&mut client, &["HGET", "test:{a}:sizes", ""]).await;
    assert_eq!(sum, 2);
}

#[tokio::test]
async fn plugins_and_prefixes_share_nothing() {
    let server = RedisServer::start().await;
    let redis = connect(&server.url());
    redis.namespace("a", QUOTA).set("k", text("x"), None).await.unwrap();
    assert_eq!(redis.namespace("b", QUOTA).get("k").await, Ok(None));
    let (prefix, timeout) = ("other:".to_owned(), Duration::from_secs(5));
    let other = Redis::new(RedisOptions { url: server.url(), prefix, timeout }).unwrap();
    assert_eq!(other.namespace("a", QUOTA).get("k").await, Ok(None));
}

/// Lets the time pass for which a Redis that failed is left alone.
async fn pause_is_over() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_redis_that_ends_and_begins_again_is_used_again() {
    let mut server = RedisServer::start().await;
    let kv = namespace(&server);
    assert_eq!(kv.increment("n", 1, None).await, Ok(1));
    server.stop().await;
    for _ in 0..3 {
        assert_eq!(kv.increment("n", 1, None).await, Err(KvError::Unavailable));
    }
    server.start_again().await;
    pause_is_over().await;
    assert_eq!(kv.increment("n", 1, None).await, Ok(1));
}

#[tokio::test]
async fn a_redis_that_does_not_answer_is_given_up_and_asked_again_later() {
    let server = RedisServer::start().await;
    let timeout = Duration::from_secs(1);
    let options = RedisOptions { url: server.url(), prefix: "test:".to_owned(), timeout };
    let kv = Redis::new(options).unwrap().namespace("a", QUOTA);
    assert_eq!(kv.get("k").await, Ok(None));
    server.freeze(true).await;
    let together = tokio::join!(kv.get("k"), kv.set("k", text("x"), None), kv.delete("k"));
    assert_eq!(together, (Err(KvError::Unavailable), Err(KvError::Unavailable), Err(KvError::Unavailable)));
    // Nobody waits for it a second time: these are answered at their first poll.
    for _ in 0..100 {
        let mut call = kv.get("k");
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert_eq!(call.as_mut().poll(&mut cx), std::task::Poll::Ready(Err(KvError::Unavailable)));
    }
    // Nor when it is still silent later, when the connection has to be made anew.
    pause_is_over().await;
    assert_eq!(kv.get("k").await, Err(KvError::Unavailable));
    server.freeze(false).await;
    pause_is_over().await;
    kv.set("k", text("y"), None).await.unwrap();
    assert_eq!(kv.get("k").await, Ok(Some(text("y"))));
}

#[tokio::test]
async fn what_redis_refuses_is_unavailable_and_nothing_else_is() {
    let server = RedisServer::start_with(&["--maxmemory", "1"]).await;
    let kv = namespace(&server);
    for _ in 0..2 {
        assert_eq!(kv.set("k", text("x"), None).await, Err(KvError::Unavailable));
        assert_eq!(kv.get("k").await, Ok(None));
    }
    let server = RedisServer::start_with(&["--requirepass", "a-password"]).await;
    assert_eq!(namespace(&server).get("k").await, Err(KvError::Unavailable));
    assert_eq!(
        connect(&format!("{}?pass=wrong", server.url())).namespace("a", QUOTA).get("k").await,
        Err(KvError::Unavailable)
    );
    assert_eq!(
        connect(&format!("{}?pass=a-password", server.url())).namespace("a", QUOTA).get("k").await,
        Ok(None)
    );
}

/// A gateway whose plugin `kv` stamps each answer with a count, or does what the request says.
async fn gateway(upstream: &ScriptedUpstream, url: &str, config: &str) -> TestGateway {
    let toml = format!(
        "[kv]\nredis = 'env::REDIS'\ntimeout = '5s'\n[plugins.kv]\nconfig = {config}\ngrant = {{ kv = true }}\n\
         limits = {{ cpu = '5s', wall = '20s' }}"
    );
    Setup::new().upstream(upstream).plugins(&["kv"]).variable("REDIS", url).toml(&toml).start().await
}

#[tokio::test]
async fn two_gateways_share_a_counter() {
    let server = RedisServer::start().await;
    let upstream = ScriptedUpstream::start([Script::says(["hel", "lo"])]).await;
    let one = gateway(&upstream, &server.url(), "{ stamp = 'answers' }").await;
    let other = gateway(&upstream, &server.url(), "{ stamp = 'answers' }").await;
    for (gateway, expect) in
        [(&one, "1: hello"), (&other, "2: hello"), (&other, "3: hello"), (&one, "4: hello")]
    {
        assert_eq!(deltas(&gateway.ask("hi").await.body().await), expect);
    }
    // And none with one that was started again.
    drop(one);
    let again = gateway(&upstream, &server.url(), "{ stamp = 'answers' }").await;
    assert_eq!(deltas(&again.ask("hi").await.body().await), "5: hello");
}

#[tokio::test]
async fn streams_go_on_while_redis_is_away() {
    let mut server = RedisServer::start().await;
    let upstream = ScriptedUpstream::start([Script::says(["hel", "lo"])]).await;
    let gateway = gateway(&upstream, &server.url(), "{ stamp = 'answers' }").await;
    assert_eq!(deltas(&gateway.ask("hi").await.body().await), "1: hello");
    server.stop().await;
    for _ in 0..3 {
        let answer = gateway.ask("hi").await.body().await;
        assert_eq!(deltas(&answer), "unavailable: hello");
        assert!(answer.ends_with("data: [DONE]\n\n"), "{answer}");
    }
    server.start_again().await;
    pause_is_over().await;
    assert_eq!(deltas(&gateway.ask("hi").await.body().await), "1: hello");
}
