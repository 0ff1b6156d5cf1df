//! What a guest may take of the host's memory and tables, by a guest and by components in text form.

use rust_proxy_stream::stage::FaultKind;
use rust_proxy_wasm::{Directory, Limits, LoadError, Settings};

use super::{LIMITS, ask, fault, runtime, settings, start};

#[tokio::test]
async fn the_hosts_resources_are_counted() {
    let mut link = start(settings("hoard")).await;
    assert_eq!(ask(&mut *link, "pollables 400").await.unwrap(), "400 pollables");
    // Those are given back.
    assert_eq!(ask(&mut *link, "pollables 400").await.unwrap(), "400 pollables");
    let (_, detail) = fault(ask(&mut *link, "pollables 600").await);
    assert!(detail.starts_with("more than 1000 (with a grant of directories 64) of the host's"), "{detail}");
}

/// A listing of a directory is one of them, and holds as much memory as the directory has names.
#[tokio::test]
async fn with_a_directory_there_are_fewer() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory { host: folder.path().to_owned(), guest: "/data".to_owned(), write: false };
    let mut link = start(Settings { directories: vec![directory], ..settings("hoard") }).await;
    assert_eq!(ask(&mut *link, "pollables 25").await.unwrap(), "25 pollables");
    let (_, detail) = fault(ask(&mut *link, "pollables 40").await);
    assert!(detail.contains("with a grant of directories 64"), "{detail}");
}

#[tokio::test]
async fn random_bytes_are_counted_by_call() {
    let mut link = start(settings("hoard")).await;
    assert_eq!(ask(&mut *link, "random 65536").await.unwrap(), "65536 random");
    let (_, detail) = fault(ask(&mut *link, "random 65537").await);
    assert!(detail.contains("65537"), "{detail}");
}

/// A component with all that a plugin must export, whose first call is `describe`. `modules` are core modules and
/// their instances; one of them is `$main`, with a function `f`.
async fn load(modules: &str, limits: Limits) -> LoadError {
    let text = format!(
        r#"(component
            {modules}
            (func $f (canon lift (core func $main "f")))
            (instance $lifecycle (export "describe" (func $f)) (export "configure" (func $f)))
            (instance $processor (export "process" (func $f)))
            (export "rust-proxy:plugin/lifecycle@0.1.0" (instance $lifecycle))
            (export "rust-proxy:plugin/processor@0.1.0" (instance $processor)))"#
    );
    let settings = Settings { limits, ..settings("text") };
    runtime().load(&wat::parse_str(&text).unwrap(), settings).await.unwrap_err()
}

/// Two modules with what is given in each.
fn twice(what: &str) -> String {
    format!(
        r#"(core module $m {what} (func (export "f")))
           (core instance $other (instantiate $m))
           (core instance $main (instantiate $m))"#
    )
}

#[track_caller]
fn assert_memory(error: &LoadError) {
    assert!(error.to_string().contains("memory limit"), "{error}");
}

/// Such a component exports nothing of the right type, and is found out at the latest by that.
#[track_caller]
fn assert_fits(error: &LoadError) {
    assert!(error.to_string().contains("type mismatch"), "{error}");
}

#[tokio::test]
async fn many_memories_are_summed() {
    let ten_mebibytes = "(memory 160)";
    let limits = |memory| Limits { memory, ..LIMITS };
    assert_memory(&load(&twice(ten_mebibytes), limits(16 << 20)).await);
    assert_fits(&load(&twice(ten_mebibytes), limits(20 << 20)).await);
    let growing = r#"(memory 1) (func $grow (drop (memory.grow (i32.const 159)))) (start $grow)"#;
    assert_memory(&load(&twice(growing), limits(16 << 20)).await);
    assert_fits(&load(&twice(growing), limits(20 << 20)).await);
}

#[tokio::test]
async fn more_memories_than_there_is_room_for_are_refused() {
    let three = r#"(core module $m (memory 1) (func (export "f")))
        (core instance (instantiate $m)) (core instance (instantiate $m)) (core instance $main (instantiate $m))"#;
    let refused = load(three, LIMITS).await.to_string();
    assert!(refused.contains("memories"), "{refused}");
}

#[tokio::test]
async fn tables_are_summed() {
    // 2 × 2 × 40,000 fit into 200,000 elements, and 2 × 2 × 60,000 do not.
    assert_fits(&load(&twice("(table 40000 funcref) (table 40000 funcref)"), LIMITS).await);
    assert_memory(&load(&twice("(table 60000 funcref) (table 60000 funcref)"), LIMITS).await);
    let growing = r#"(table 1 funcref) (table 1 funcref)
        (func $grow (drop (table.grow 0 (ref.null func) (i32.const 59999)))
                    (drop (table.grow 1 (ref.null func) (i32.const 59999))))
        (start $grow)"#;
    assert_memory(&load(&twice(growing), LIMITS).await);
}

#[tokio::test]
async fn a_table_past_the_pools_is_refused() {
    let refused = load(&twice("(table 100001 funcref)"), LIMITS).await.to_string();
    assert!(refused.contains("table"), "{refused}");
}

/// A guest's own resources take memory of the host, too.
#[tokio::test]
async fn handles_of_the_guests_own_resources_are_counted() {
    let making = |count: u32| {
        format!(
            r#"(type $r (resource (rep i32)))
            (core func $new (canon resource.new $r))
            (core module $m (import "" "new" (func $new (param i32) (result i32)))
                (func $make (local $left i32)
                    (local.set $left (i32.const {count}))
                    (loop $again
                        (drop (call $new (i32.const 1)))
                        (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
                (start $make)
                (func (export "f")))
            (core instance $main (instantiate $m (with "" (instance (export "new" (func $new))))))"#
        )
    };
    assert_fits(&load(&making(9_000), LIMITS).await);
    let refused = load(&making(11_000), LIMITS).await.to_string();
    assert!(refused.contains("handle limit exceeded"), "{refused}");
}

/// What a call brings to the host is bounded before the host makes it its own.
#[tokio::test]
async fn what_a_call_brings_to_the_host_is_bounded() {
    let mut link = start(Settings { limits: Limits { output: 4_000, ..LIMITS }, ..settings("hoard") }).await;
    assert_eq!(ask(&mut *link, "random 100").await.unwrap(), "100 random");
    assert_eq!(fault(ask(&mut *link, &format!("{} 1", "x".repeat(8_000))).await).0, FaultKind::Output);
}
