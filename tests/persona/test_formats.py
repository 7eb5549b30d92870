"""Each format: who says what and when, what is a heading, and what a malformed file is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from persona.corpus import Corpus
from persona.errors import CorpusError
from persona.voices import cite
from tests.persona.corpora import assert_sentence, one_document, said, sentences

VTT = """WEBVTT

00:00:01.000 --> 00:00:03.000
<v Anna Bloom>Did it work?</v>

00:00:03.000 --> 00:00:06.000
<v Carl Dorn>It worked twice. <v Anna Bloom>Only twice?</v>

00:01:06.000 --> 00:01:08.000
Somebody laughs.
"""

SRT = """1
00:00:01,000 --> 00:00:03,500
It worked

2
00:00:03,500 --> 00:00:05,000
the first time.
"""

WHISPER = """[00:00:00.000 --> 00:00:02.000]   It worked
[00:00:02.000 --> 00:00:04.000]   - the first time. - (laughing)
[01:00:04.000 --> 01:00:06.000]   And again.
"""


def quotable(corpus: Corpus, text: str) -> bool:
    """Whether a sentence may be quoted as somebody's."""
    (sentence,) = [s for s in sentences(corpus) if s.text == text]
    return cite([sentence], corpus).verbatim


def test_vtt_voices_name_the_speakers(tmp_path: Path) -> None:
    corpus = one_document(tmp_path, VTT, file="talk.vtt", speakers=["Anna Bloom", "Carl Dorn"])
    assert said(corpus) == [
        ("Anna Bloom", "Did it work?"),
        ("Carl Dorn", "It worked twice."),
        ("Anna Bloom", "Only twice?"),
        (None, "Somebody laughs."),
    ]


def test_vtt_times_are_seconds(tmp_path: Path) -> None:
    corpus = one_document(tmp_path, VTT, file="talk.vtt", speakers=["Anna Bloom", "Carl Dorn"])
    assert (sentences(corpus)[0].start, sentences(corpus)[0].end) == (1.0, 3.0)
    assert sentences(corpus)[-1].start == 66.0


def test_a_cue_without_a_voice_is_nobodys_where_two_speak(tmp_path: Path) -> None:
    corpus = one_document(tmp_path, VTT, file="talk.vtt", speakers=["Anna Bloom", "Carl Dorn"])
    assert not quotable(corpus, "Somebody laughs.")
    assert quotable(corpus, "Did it work?")


def test_a_cue_without_a_voice_is_the_only_speakers(tmp_path: Path) -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\nIt <b>worked</b> well.\n"
    assert said(one_document(tmp_path, text, file="talk.vtt", speakers=["Anna"])) == [("Anna", "It worked well.")]


def test_vtt_voice_classes_are_no_names(tmp_path: Path) -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\n<v.loud Anna>It worked.\n"
    assert said(one_document(tmp_path, text, file="talk.vtt")) == [("Anna", "It worked.")]


def test_srt_goes_on_over_cues(tmp_path: Path) -> None:
    corpus = one_document(tmp_path, SRT, file="talk.srt", speakers=["Anna"])
    assert said(corpus) == [("Anna", "It worked the first time.")]
    assert (sentences(corpus)[0].start, sentences(corpus)[0].end) == (1.0, 5.0)


def test_srt_of_two_speakers_is_not_quotable(tmp_path: Path) -> None:
    corpus = one_document(tmp_path, SRT, file="talk.srt", speakers=["Anna", "Carl"])
    assert said(corpus) == [(None, "It worked the first time.")]
    assert not quotable(corpus, "It worked the first time.")


def test_whisper_lines_give_times_and_marks_part_the_words(tmp_path: Path) -> None:
    corpus = one_document(tmp_path, WHISPER, speakers=["Anna"])
    assert said(corpus) == [("Anna", "It worked"), ("Anna", "the first time."), ("Anna", "And again.")]
    assert [s.start for s in sentences(corpus)] == [0.0, 2.0, 3604.0]
    assert not sentences(corpus)[1].joined


def test_a_whisper_transcript_without_annotation_is_not_quotable(tmp_path: Path) -> None:
    corpus = one_document(tmp_path, WHISPER, speakers=["Anna", "Carl"])
    assert not quotable(corpus, "And again.")


def test_names_before_a_colon_open_turns(tmp_path: Path) -> None:
    text = "Anna Bloom: Did it work?\n\nCarl: It did. Twice.\nAnd once more.\nAnna Bloom: Fine."
    corpus = one_document(tmp_path, text, speakers=["Anna Bloom", "Carl"])
    assert said(corpus) == [
        ("Anna Bloom", "Did it work?"),
        ("Carl", "It did."),
        ("Carl", "Twice."),
        ("Carl", "And once more."),
        ("Anna Bloom", "Fine."),
    ]


def test_names_match_the_catalogs_in_any_case(tmp_path: Path) -> None:
    assert said(one_document(tmp_path, "ANNA: It worked.", speakers=["Anna"])) == [("Anna", "It worked.")]


def test_markdown_names_and_times_are_read(tmp_path: Path) -> None:
    text = "# A talk\n\n**Anna:** Did it work?\n\n**Carl** (1:02): It did.\n"
    corpus = one_document(tmp_path, text, file="talk.md", speakers=["Anna", "Carl"])
    assert said(corpus) == [("Anna", "Did it work?"), ("Carl", "It did.")]


def test_words_before_the_first_name_are_nobodys(tmp_path: Path) -> None:
    corpus = one_document(tmp_path, "Music plays.\nAnna: It worked.\nCarl: Yes, it did.", speakers=["Anna", "Carl"])
    assert said(corpus)[0] == (None, "Music plays.")
    assert not quotable(corpus, "Music plays.")


def test_a_single_speaker_needs_no_names(tmp_path: Path) -> None:
    corpus = one_document(tmp_path, "It worked. It worked twice.", speakers=["Anna"])
    assert said(corpus) == [("Anna", "It worked."), ("Anna", "It worked twice.")]
    assert quotable(corpus, "It worked.")


def test_nobody_known_to_speak_is_not_quotable(tmp_path: Path) -> None:
    assert not quotable(one_document(tmp_path, "It worked."), "It worked.")


def test_a_name_that_the_catalog_lacks_is_not_quoted_as_another(tmp_path: Path) -> None:
    text = "Anna: It worked.\nEve Stone: I broke it.\nCarl: Who?"
    corpus = one_document(tmp_path, text, speakers=["Anna", "Carl"])
    assert not corpus.documents["doc"].said_by("I broke it.", "Anna")


def test_omitted_lines_are_gone(tmp_path: Path) -> None:
    text = "A page title\nAnna: It worked.\nBuy soap!\nBuy more!\nAnna: Twice."
    assert said(one_document(tmp_path, text, speakers=["Anna"], omit=["1", "3-4"])) == [
        ("Anna", "It worked."),
        ("Anna", "Twice."),
    ]


def test_bare_captions_have_no_speaker_where_two_speak(tmp_path: Path) -> None:
    corpus = one_document(tmp_path, "it worked twice", kind="captions", speakers=["Anna", "Carl"])
    assert said(corpus) == [(None, "it worked twice")]


def test_bare_captions_of_one_are_hers(tmp_path: Path) -> None:
    corpus = one_document(tmp_path, "it worked twice", kind="captions", speakers=["Anna"])
    assert said(corpus) == [("Anna", "it worked twice")]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("talk.vtt", "00:00:01.000 --> 00:00:02.000\nHello\n"),
        ("talk.vtt", ""),
        ("talk.vtt", "WEBVTT\n\n00:99:01.000 -> 00:00:02\nHello\n"),
        ("talk.vtt", "WEBVTT\n"),
        ("talk.srt", "no subtitles at all"),
        ("talk.srt", ""),
        ("talk.srt", "1\n00:00:01,000 -> 00:00:02,000\nHello\n"),
        ("talk.txt", "[00:00:01.000 --> 00:00:02.000] Hello\nno stamp here\n"),
        ("talk.txt", " \n\n"),
        ("talk.md", "# Only a heading\n"),
    ],
)
def test_a_malformed_file_is_one_sentence(tmp_path: Path, file: str, text: str) -> None:
    with pytest.raises(CorpusError) as caught:
        one_document(tmp_path, text, file=file, speakers=["Anna"])
    assert_sentence(caught.value, file)


def test_a_line_without_a_stamp_is_named_by_number(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="Line 2 "):
        one_document(tmp_path, "[00:00:01.000 --> 00:00:02.000] Hello\nno stamp here\n", speakers=["Anna"])


OUTLINE = """# The talk

00:01:00 Early days
The start: It was hard. Nobody came.
– A first bullet.
1. A numbered point.

00:02:30 Later
**Money:**
* It ran out.

Conclusion

All ended well.[1]

[1] A. Author et al., A paper, 2012
"""


def outline(tmp_path: Path) -> Corpus:
    return one_document(tmp_path, OUTLINE, file="notes.md", kind="notes")


def test_headings_are_no_sentences(tmp_path: Path) -> None:
    assert [s.text for s in sentences(outline(tmp_path))] == [
        "It was hard.",
        "Nobody came.",
        "A first bullet.",
        "A numbered point.",
        "It ran out.",
        "All ended well.[1]",
        "A. Author et al., A paper, 2012",
    ]


def test_sentences_stand_under_their_headings_and_topics(tmp_path: Path) -> None:
    heading = {s.text: s.heading for s in sentences(outline(tmp_path))}
    assert heading["It was hard."] == "Early days: The start"
    assert heading["A first bullet."] == "Early days"
    assert heading["It ran out."] == "Money"
    assert heading["All ended well.[1]"] == "Conclusion"


def test_a_timed_heading_times_its_section_only(tmp_path: Path) -> None:
    span = {s.text: (s.start, s.end) for s in sentences(outline(tmp_path))}
    assert span["It was hard."] == (60.0, 150.0)
    assert span["All ended well.[1]"] == (None, None)


def test_a_report_has_no_speaker_even_if_the_catalog_names_one(tmp_path: Path) -> None:
    corpus = one_document(tmp_path, "It was hard. Nobody came.", kind="summary", speakers=["Anna"])
    assert {s.speaker for s in sentences(corpus)} == {None}


def test_paragraphs_are_not_joined(tmp_path: Path) -> None:
    corpus = one_document(tmp_path, "It was hard. Nobody came.\n\nThen all came here.", kind="summary")
    assert [s.joined for s in sentences(corpus)] == [False, True, False]
