//! Which characters a text may have that is shown to people: none that deceive the eye.
//!
//! The ranges are those of Unicode: `Bidi_Control` (PropList.txt), `Default_Ignorable_Code_Point`
//! (DerivedCoreProperties.txt) and the noncharacters (The Unicode Standard, section 23.7), which never change; the first
//! two have hardly changed in twenty years. Characters that are not assigned yet pass: a newer Unicode may show them.

use super::ids::Malformed;

/// Joins letters or emoji, or keeps them apart: Persian names, Indic scripts, families.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];

/// Refuses texts that show as something else than they are, or as nothing.
pub(super) fn check(text: &str) -> Result<(), Malformed> {
    if text.chars().any(char::is_control) {
        return Err(Malformed::ControlCharacter);
    }
    if text.trim() != text {
        return Err(Malformed::SurroundingSpace);
    }
    if text.chars().any(is_deceptive) || !joiners_join(text) {
        return Err(Malformed::Invisible);
    }
    if text.chars().any(is_visible) { Ok(()) } else { Err(Malformed::NothingVisible) }
}

/// Whether a character is in no text on purpose: it turns the direction of others, shows as nothing, or never means
/// anything. Joiners are not among them.
pub(super) fn is_deceptive(character: char) -> bool {
    matches!(character,
        // Bidi_Control: the text reads in another order than it is stored.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Default_Ignorable_Code_Point, as far as no living script needs it.
        | '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}'
        // Marks for what a system puts into a text, and separators of lines that are no controls.
        | '\u{fff9}'..='\u{fffb}' | '\u{2028}' | '\u{2029}'
        | '\u{fdd0}'..='\u{fdef}')
        // The last two of each plane are noncharacters.
        || u32::from(character) & 0xfffe == 0xfffe
}

/// Whether a character chooses how the one before it is drawn.
fn is_selector(character: char) -> bool {
    matches!(character, '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Whether one sees something where a character stands.
fn is_visible(character: char) -> bool {
    // Ignorable marks of Khmer and of combining, and the Braille pattern without a dot.
    let blank = matches!(character, '\u{34f}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}');
    !(blank
        || character.is_whitespace()
        || JOINERS.contains(&character)
        || is_selector(character)
        || is_deceptive(character))
}

/// Whether each joiner stands between two visible characters; elsewhere it joins nothing and only makes two names that
/// look alike.
fn joiners_join(text: &str) -> bool {
    let mut before_is_visible = false;
    let mut waits = false;
    for character in text.chars() {
        if is_selector(character) {
            continue;
        }
        let joiner = JOINERS.contains(&character);
        let visible = is_visible(character);
        if (joiner && !before_is_visible) || (waits && !visible) {
            return false;
        }
        waits = joiner;
        before_is_visible = visible;
    }
    !waits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_world_pass() {
        for name in [
            "Ada Lovelace",
            "José Ñandú",
            "Łukasz O’Brien-Ząb",
            "李小龍",
            "안녕",
            "عبد الله",
            "דוד",
            // With a ZWNJ: Persian.
            "می\u{200c}خواهم",
            // With a ZWJ between a virama and a letter: Sinhala.
            "ශ්\u{200d}රී",
            "👩\u{200d}👩\u{200d}👧 Team",
            // With a variation selector before the joiner.
            "🏳\u{fe0f}\u{200d}🌈",
            "❤\u{fe0f}",
            "e\u{301}",
            "4",
            "·",
        ] {
            assert_eq!(check(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn what_deceives_is_refused() {
        let bidi = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}'];
        let invisible =
            ['\u{200b}', '\u{2060}', '\u{2064}', '\u{feff}', '\u{ad}', '\u{180e}', '\u{3164}', '\u{115f}'];
        let tags = ['\u{e0001}', '\u{e0041}', '\u{e007f}'];
        let nothing = ['\u{fdd0}', '\u{fdef}', '\u{fffe}', '\u{ffff}', '\u{1fffe}', '\u{10ffff}', '\u{2028}'];
        for character in bidi.into_iter().chain(invisible).chain(tags).chain(nothing) {
            for name in [format!("A{character}da"), character.to_string()] {
                assert!(check(&name).is_err(), "{name:?}");
            }
            assert_eq!(check(&format!("A{character}da")), Err(Malformed::Invisible), "{character:?}");
        }
        assert_eq!(check("A\u{7f}da"), Err(Malformed::ControlCharacter));
        assert_eq!(check("A\u{85}da"), Err(Malformed::ControlCharacter));
    }

    #[test]
    fn a_joiner_joins_two_that_can_be_seen() {
        for name in [
            "\u{200d}Ada",
            "Ada\u{200c}",
            "A\u{200d}\u{200d}da",
            "A\u{200c} da",
            "A \u{200d}da",
            "\u{200d}",
            "A\u{200d}\u{fe0f}",
        ] {
            assert_eq!(check(name), Err(Malformed::Invisible), "{name:?}");
        }
    }

    #[test]
    fn something_is_to_be_seen() {
        for name in ["\u{2800}", "\u{fe0f}", "\u{34f}", "\u{2800}\u{2003}\u{2800}"] {
            assert_eq!(check(name), Err(Malformed::NothingVisible), "{name:?}");
        }
        assert_eq!(check("\u{3000}"), Err(Malformed::SurroundingSpace));
    }
}
