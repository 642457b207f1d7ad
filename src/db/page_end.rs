//! Where a page of a list ends: at its limit, or at about a megabyte of text.

/// A page with so many bytes of text ends, whatever its limit is. The statements return no notice two rows or more after that, so
/// that no call reads all the notices that a page has room for, 20 MB.
pub(super) const MAX_PAGE_BYTES: i64 = 1_000_000;

/// How many items a page has, whose texts take so many bytes each: it ends before the item that follows [`MAX_PAGE_BYTES`], but not
/// before the first one.
pub(super) fn items_that_fit(sizes: impl Iterator<Item = i64>, limit: usize) -> usize {
    let mut bytes = 0;
    let fits = |size: &i64| {
        let fits = bytes < MAX_PAGE_BYTES;
        bytes += size;
        fits
    };
    sizes.take(limit).take_while(fits).count()
}

/// About as many as the texts take in JSON, where some characters are escaped.
pub(super) fn json_bytes<'a>(texts: impl IntoIterator<Item = &'a Option<String>>) -> i64 {
    let bytes = texts.into_iter().flatten().flat_map(|text| text.bytes());
    bytes.map(|byte| if byte < b' ' || b"\"\\".contains(&byte) { 6 } else { 1 }).sum()
}
