use notify::event::{CreateKind, DataChange, Flag, ModifyKind};

use super::*;

fn names() -> Names {
    let set = |names: &[&str]| names.iter().map(OsString::from).collect();
    Names { files: set(&["gateway.toml", "words.txt"]), folders: set(&["conf", "plugins"]) }
}

fn written_at(paths: &[&str]) -> Event {
    let event = Event::new(EventKind::Modify(ModifyKind::Data(DataChange::Any)));
    paths.iter().fold(event, |event, path| event.add_path(path.into()))
}

#[test]
fn a_change_is_of_the_files_or_beside_them_or_none_of_theirs() {
    for (paths, what) in [
        (&["/conf/words.txt"][..], What::File),
        (&["/conf/words.tmp", "/conf/words.txt"], What::File),
        (&["/conf/plugins"], What::Beside),
        (&["/conf/.."], What::Beside),
        (&["/conf/..data"], What::Beside),
        (&["/conf/..data_tmp"], What::Beside),
        (&["/conf/plugins/mask.wasm.minisig"], What::Beside),
        (&["/conf/gateway.log"], What::Other),
        (&["/conf/words.txt~", "/conf/4913"], What::Other),
    ] {
        assert_eq!(names().concerned(&written_at(paths)), Some(what), "{paths:?}");
    }
    let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
    assert_eq!(names().concerned(&lost), Some(What::Beside));
}

#[test]
fn reading_is_no_change() {
    let event = |kind| Event::new(kind).add_path("/conf/words.txt".into());
    for kind in [AccessKind::Open(AccessMode::Any), AccessKind::Close(AccessMode::Read), AccessKind::Read] {
        assert_eq!(names().concerned(&event(EventKind::Access(kind))), None);
    }
    for kind in [EventKind::Access(AccessKind::Close(AccessMode::Write)), EventKind::Create(CreateKind::File)]
    {
        assert_eq!(names().concerned(&event(kind)), Some(What::File));
    }
}

#[test]
fn a_file_is_young_for_a_while_after_it_was_written() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    for (modified, young) in [
        (now, true),
        (now - QUIET + Duration::from_millis(1), true),
        (now - QUIET, false),
        (now + Duration::from_millis(1), true),
        (now + Duration::from_secs(100), false),
    ] {
        assert_eq!(is_young(modified, now), young);
    }
}

/// How long it takes to settle where this happens each 100 ms, `times` times.
async fn settled_after(what: What, times: u32) -> Duration {
    let (tell, mut seen) = watch::channel(Seen::default());
    let start = Instant::now();
    let happens = async {
        for _ in 0..times {
            sleep(Duration::from_millis(100)).await;
            tell.send_modify(|seen| seen.count(what));
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = settle(&mut seen) => start.elapsed(),
        () = happens => unreachable!("it is pending"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_files_is_waited_for_and_others_only_for_a_while() {
    let secs = Duration::from_secs;
    assert!(settled_after(What::Beside, 10).await >= secs(1) + QUIET);
    assert!(settled_after(What::Beside, 200).await < RESTLESS + secs(1));
    assert!(settled_after(What::File, 200).await >= secs(20) + QUIET);
}
