use proptest::prelude::*;

use super::*;

fn decode(chunks: &[&[u8]]) -> Result<Vec<Block>, SseError> {
    let mut decoder = Decoder::default();
    let mut blocks = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        while let Some(block) = decoder.next_block()? {
            blocks.push(block);
        }
    }
    blocks.extend(decoder.finish()?);
    Ok(blocks)
}

fn data(input: &str) -> Vec<String> {
    decode(&[input.as_bytes()]).unwrap().into_iter().filter_map(|block| block.data).collect()
}

#[test]
fn fields_are_read_as_the_standard_says() {
    assert_eq!(data("data: a\n\ndata:b\n\n"), ["a", "b"]);
    assert_eq!(data("data: a\ndata: b\n\n"), ["a\nb"]);
    assert_eq!(data("data:  two spaces\r\n\r\n"), [" two spaces"]);
    assert_eq!(data("\u{feff}data: bom\r\r"), ["bom"]);
    assert_eq!(data(": comment\n\nretry: 3\n\ndata\n\n"), [""]);
    let blocks = decode(&[b"event: x\nid: 7\ndata: y\n\n"]).unwrap();
    assert_eq!((blocks[0].name.as_deref(), blocks[0].data.as_deref()), (Some("x"), Some("y")));
}

#[test]
fn a_byte_order_mark_is_one_at_the_beginning_of_the_stream_only() {
    assert_eq!(data("data: a\n\n\u{feff}data: b\n\ndata: c\n\n"), ["a", "c"]);
    // However its lines end and wherever it is cut: this LF may come with the block before or the one behind.
    let parts = ["data: a\r\r", "\n\u{feff}data: b\n\n"].map(str::as_bytes);
    let fields =
        |chunks: &[&[u8]]| decode(chunks).unwrap().into_iter().map(|block| block.data).collect::<Vec<_>>();
    assert_eq!(fields(&parts), fields(&[&parts.concat()]));
}

#[test]
fn end_within_an_event_is_not_a_clean_end() {
    assert_eq!(decode(&[b"data: {\"a\""]), Err(SseError::Cut));
    assert_eq!(decode(&[b"data: a\n"]), Err(SseError::Cut));
    assert!(decode(&[b"data: a\n\n\n\r\n"]).is_ok());
    assert_eq!(decode(&[b"data: [DONE]\n"]).unwrap().len(), 1);
}

#[test]
fn an_event_is_bounded() {
    let mut decoder = Decoder::default();
    decoder.push(b"data: ");
    decoder.push(&vec![b'x'; BLOCK_MAX]);
    assert_eq!(decoder.next_block(), Err(SseError::TooLong));
    assert_eq!(decode(&[b"data: \xff\n\n"]), Err(SseError::NotUtf8));
}

#[test]
fn an_event_is_given_out_with_its_blank_line() {
    let mut decoder = Decoder::default();
    decoder.push(b"data: a\r\n\r");
    assert_eq!(decoder.next_block().unwrap().unwrap().data.as_deref(), Some("a"));
    decoder.push(b"\ndata: b\n\n");
    let next = decoder.next_block().unwrap().unwrap();
    assert_eq!((next.data.as_deref(), next.raw.as_ref()), (Some("b"), b"\ndata: b\n\n".as_slice()));
}

proptest! {
    #[test]
    fn chunking_changes_nothing(
        lines in prop::collection::vec("(data: ?|: |event: ?|)[a-zé]{0,4}(\n|\r\n|\r)", 0..30),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let input = lines.concat() + "\n\n";
        let bytes = input.as_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let whole = decode(&[bytes]).unwrap();
        let split = decode(&chunks).unwrap();
        let fields = |blocks: &[Block]| -> Vec<_> {
            blocks.iter().map(|block| (block.name.clone(), block.data.clone())).collect()
        };
        prop_assert_eq!(fields(&whole), fields(&split));
        // Nothing is lost but blank lines at the end.
        let joined = split.iter().flat_map(|block| block.raw.to_vec()).collect::<Vec<_>>();
        prop_assert!(bytes.starts_with(&joined));
        prop_assert!(bytes[joined.len()..].iter().all(|byte| matches!(byte, b'\n' | b'\r')));
    }

    #[test]
    fn what_is_encoded_is_decoded(text in "[a-z\\n\"é: ]{0,40}") {
        let encoded = encode(Some("message"), &text);
        let blocks = decode(&[&encoded]).unwrap();
        prop_assert_eq!(blocks.len(), 1);
        prop_assert_eq!(blocks[0].data.as_deref(), Some(text.as_str()));
    }
}
