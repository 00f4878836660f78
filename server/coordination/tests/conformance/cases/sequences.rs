//! Sequential nodes.

use bytes::Bytes;
use slotkv_coordination::{Expect, Mode};

use crate::bed::Bed;

pub async fn sequential_names_grow_and_sort(bed: Bed) {
    let peer = bed.peer().await;
    let mut made = Vec::new();
    for _ in 0..12 {
        made.push(peer.create("/queue/n-", Bytes::new(), Mode::PersistentSequential).await.unwrap());
    }
    assert!(made.is_sorted(), "{made:?}");
    let names: Vec<String> = made.iter().map(|path| path["/queue/".len()..].to_owned()).collect();
    assert_eq!(peer.children("/queue").await.unwrap(), names);
    assert!(names.iter().all(|name| name.len() == "n-".len() + 10), "{names:?}");
}

pub async fn a_sequential_number_is_never_given_again(bed: Bed) {
    let peer = bed.peer().await;
    let first = peer.create("/queue/", Bytes::new(), Mode::EphemeralSequential).await.unwrap();
    let second = peer.create("/queue/", Bytes::new(), Mode::EphemeralSequential).await.unwrap();
    peer.delete(&first, Expect::Any).await.unwrap();
    peer.delete(&second, Expect::Any).await.unwrap();
    let third = peer.create("/queue/", Bytes::new(), Mode::EphemeralSequential).await.unwrap();
    assert!(third > second && second > first, "{first} {second} {third}");
}

pub async fn two_sessions_get_different_numbers(bed: Bed) {
    let first = bed.peer().await;
    let second = bed.peer().await;
    let creates = (0..20).map(|number| {
        let peer = if number % 2 == 0 { &first } else { &second };
        peer.create("/queue/n-", Bytes::new(), Mode::EphemeralSequential)
    });
    let mut made: Vec<String> =
        futures_util::future::join_all(creates).await.into_iter().map(Result::unwrap).collect();
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 20);
}

pub async fn a_sequential_prefix_may_end_in_a_slash(bed: Bed) {
    let peer = bed.peer().await;
    let path = peer.create("/masters/", "me".into(), Mode::EphemeralSequential).await.unwrap();
    let name = path.strip_prefix("/masters/").unwrap();
    assert!(name.len() == 10 && name.bytes().all(|byte| byte.is_ascii_digit()), "{name}");
    assert_eq!(peer.get(&path).await.unwrap().unwrap().data, "me");
}
