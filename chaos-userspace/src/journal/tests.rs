use std::{fs, sync::mpsc};

use proptest::prelude::*;

use super::*;
use crate::state::Owner;

const PATIENCE: Duration = Duration::from_secs(5);

fn change(id: u64) -> Change {
    let owner = Owner::this();
    Change {
        id,
        owner_pid: owner.pid,
        owner_start: owner.start,
        boot_id: boot::id(),
        deadline_ns: 7,
        cgroup: "/a".to_owned(),
        cgroup_id: 42,
        file: "cpu.max".to_owned(),
        original: "max 100000".to_owned(),
        wanted: "25000 100000".to_owned(),
        device: String::new(),
    }
}

fn ids(contents: &Contents) -> Vec<u64> {
    contents.live.iter().map(|change| change.id).collect()
}

fn journal() -> (tempfile::TempDir, Journal) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::at(folder.path().join("journal"));
    (folder, journal)
}

#[test]
fn what_is_live_is_found_again_and_an_empty_journal_is_no_file() {
    let (_folder, journal) = journal();
    assert_eq!(journal.read().unwrap(), Contents::default());
    let mut locked = journal.lock(PATIENCE).unwrap();
    for id in 1..=3 {
        locked.begin(change(id)).unwrap();
    }
    locked.done(2).unwrap();
    // Undone twice is undone.
    locked.done(2).unwrap();
    drop(locked);
    assert_eq!(ids(&journal.read().unwrap()), [1, 3]);
    let mut locked = journal.lock(PATIENCE).unwrap();
    assert_eq!(locked.live()[0], change(1));
    locked.done(1).unwrap();
    locked.done(3).unwrap();
    drop(locked);
    assert!(!journal.path().exists());
}

#[test]
fn changes_of_another_boot_are_obsolete() {
    let (_folder, journal) = journal();
    let mut locked = journal.lock(PATIENCE).unwrap();
    let old = Change {
        boot_id: "another".to_owned(),
        ..change(1)
    };
    locked.begin(old).unwrap();
    drop(locked);
    assert_eq!(journal.read().unwrap().live, []);
    drop(journal.lock(PATIENCE).unwrap());
    assert!(!journal.path().exists(), "and cleaned");
}

#[test]
fn a_torn_tail_is_cut_and_damage_in_the_middle_is_skipped() {
    let (_folder, journal) = journal();
    let mut locked = journal.lock(PATIENCE).unwrap();
    let mut sizes = Vec::new();
    for id in 1..=3 {
        locked.begin(change(id)).unwrap();
        sizes.push(fs::metadata(journal.path()).unwrap().len());
    }
    drop(locked);
    let whole = fs::read(journal.path()).unwrap();

    fs::write(journal.path(), &whole[..whole.len() - 1]).unwrap();
    let mut locked = journal.lock(PATIENCE).unwrap();
    assert_eq!(fs::metadata(journal.path()).unwrap().len(), sizes[1]);
    locked.begin(change(4)).unwrap();
    drop(locked);
    assert_eq!(ids(&journal.read().unwrap()), [1, 2, 4]);

    let mut damaged = whole.clone();
    damaged[usize::try_from(sizes[0]).unwrap() + 20] ^= 1;
    fs::write(journal.path(), &damaged).unwrap();
    let read = journal.read().unwrap();
    assert_eq!(ids(&read), [1, 3]);
    assert_eq!(read.damaged as u64, sizes[1] - sizes[0]);

    // A whole record, the last one, whose change was made: no torn tail, wherever the damage is.
    for at in [0, 3, 8, 20] {
        let mut damaged = whole.clone();
        damaged[usize::try_from(sizes[1]).unwrap() + at] ^= 1;
        fs::write(journal.path(), &damaged).unwrap();
        let read = journal.read().unwrap();
        assert_eq!(ids(&read), [1, 2], "{at}");
        assert_eq!(read.damaged as u64, sizes[2] - sizes[1], "{at}");
        drop(journal.lock(PATIENCE).unwrap());
        assert_eq!(fs::read(journal.path()).unwrap(), damaged, "kept");
    }
}

#[test]
fn who_does_not_get_the_lock_is_told() {
    let (_folder, journal) = journal();
    let mut locked = journal.lock(PATIENCE).unwrap();
    locked.begin(change(1)).unwrap();
    let refused = journal.lock(Duration::from_millis(20)).unwrap_err();
    assert!(
        refused.to_string().contains("kchaos stop --all"),
        "{refused}"
    );
    // One that waits gets the journal that is there then, not the one that it opened.
    let (ready, go) = mpsc::channel();
    let waiting = {
        let journal = journal.clone();
        thread::spawn(move || {
            ready.send(()).unwrap();
            let mut locked = journal.lock(PATIENCE).unwrap();
            locked.begin(change(2)).unwrap();
        })
    };
    go.recv().unwrap();
    thread::sleep(Duration::from_millis(50));
    locked.done(1).unwrap();
    drop(locked);
    waiting.join().unwrap();
    assert_eq!(ids(&journal.read().unwrap()), [2]);
}

#[test]
fn it_does_not_grow_for_ever() {
    let (folder, journal) = journal();
    let mut locked = journal.lock(PATIENCE).unwrap();
    locked.begin(change(1)).unwrap();
    for id in 2..2000 {
        locked.begin(change(id)).unwrap();
        locked.done(id).unwrap();
    }
    drop(locked);
    let size = fs::metadata(journal.path()).unwrap().len();
    assert!(size <= COMPACT_BEYOND, "{size}");
    assert_eq!(ids(&journal.read().unwrap()), [1]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

proptest! {
    #[test]
    fn no_damage_makes_it_panic_or_invent(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let records = [
            Kind::Begin(change(1)),
            Kind::Begin(change(2)),
            Kind::Done(1),
            Kind::Begin(change(3)),
        ];
        let mut bytes: Vec<u8> = records
            .map(|kind| frame::encode(&Entry { kind: Some(kind) }.encode_to_vec()))
            .concat();
        for (at, bits) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let (contents, end) = contents(&bytes);
        prop_assert!(end <= bytes.len());
        for found in contents.live {
            prop_assert_eq!(&found, &change(found.id));
        }
    }
}
