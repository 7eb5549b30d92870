"""The bundled documents: each trap in them, and who says what in the transcript."""

from __future__ import annotations

import pytest

from persona.card import load_card
from persona.corpus import Corpus, load_corpus
from persona.corpus.document import Word
from persona.types import DocumentKind
from persona.verification import citation_stands
from persona.voices import cite, clock

ILYA = "Ilya Sutskever"
JENSEN = "Jensen Huang"
TRANSCRIPT = "fireside-transcript"
CAPTIONS = "fireside-captions"

# (time, words as the transcript has them, who says them), from reading the transcript against its turns.
TURNS = [
    ("0:00", "Ilya, unbelievable. Today is the day after GPT-4.", JENSEN),
    ("1:14", "that it was going to lead to this kind of success?", JENSEN),
    ("1:17", "Okay, well, first of all, thank you so much for the quote, for all the kind words.", ILYA),
    ("2:42", "Jeff Hinton was a professor at my university, and I was able to find him,", ILYA),
    ("3:28", "Even though, you knowâ€”", ILYA),
    ("3:29", "At the time that you first started,", JENSEN),
    ("3:39", "What was it like?", JENSEN),
    ("3:40", "An interesting thing to note was that the importance of scale wasn't realized back then.", ILYA),
    ("4:55", "Now, the year AlexNet was 2012.", JENSEN),
    ("4:59", "Yes.", ILYA),
    ("5:00", "2012. Now, you and Alex were working on AlexNet", JENSEN),
    ("5:25", "Yeah. So I can talk about the context there.", ILYA),
    ("7:34", "And right at that time,", JENSEN),
    ("7:35", "GPUs came out.", ILYA),
    ("7:37", "you and I, our history and our paths intersected,", JENSEN),
    ("8:09", "Yeah, so, you know, the GPUs appeared in our lab,", ILYA),
    ("8:19", '"We should try these GPUs."', ILYA),
    ("9:01", "he really loved programming the GPU.", ILYA),
    ("9:24", "It shocked the world. It broke the record of computer vision by such a wide margin", JENSEN),
    ("9:34", "And I would say it's not just like, there is another bit of context there.", ILYA),
    ("10:09", "There wasn't an average benchmark.", JENSEN),
    ("10:10", "It was so obviously difficult,", ILYA),
    ("10:21", "Big bang of AI.", JENSEN),
    ("10:58", "Yeah. So, obviously, when we started,", ILYA),
    ("14:31", "Sequence work, you've done, I mean, this is some of the work that you've done yourself, yeah.", JENSEN),
    ("14:36", "So the same LSTM with a few twists,", ILYA),
    ("15:22", "That observation also, for me, intuitively,", JENSEN),
    ("15:54", "Well, I think, so I would phrase it a little differently.", ILYA),
    ("16:29", "That was the goal.", ILYA),
    ("16:29", "That it would learn a representation, that it would be able to understand.", JENSEN),
    ("16:33", "That's right, that it will be useful.", ILYA),
    ("16:35", "Grammar and, yeah.", JENSEN),
    ("17:18", "Yes.", ILYA),
    ("17:19", "Larger networks, deeper networks, more training data would scale that.", JENSEN),
    ("17:45", "But did the intuition about the scaling laws", JENSEN),
    ("18:06", "The intuition, so I would say", ILYA),
    ("19:08", "Yeah, right.", JENSEN),
    ("19:09", "We need to be smart,", ILYA),
    ("20:09", "Yeah. I mean, there has been real convergence", ILYA),
    ("20:22", "That's right.", JENSEN),
    ("20:23", "And that combination gave us Chad GPT.", ILYA),
    ("24:40", "Yeah. So this second stage of training", ILYA),
    ("26:48", "What were the major differences between Chat GPT and GPT-4", JENSEN),
    ("26:59", "So GPT-4 is a pretty substantial improvement on top of Chat GPT", ILYA),
    ("28:40", "And that person's name is?", ILYA),
    ("28:42", "Predict that word.", JENSEN),
    ("28:43", "Predict that word, exactly.", ILYA),
    ("28:44", "My goodness.", JENSEN),
    ("28:45", "Right?", ILYA),
    ("28:45", "Yeah, right.", JENSEN),
    ("28:46", "Now, there are many different words,", ILYA),
    ("28:58", "Ilya, people say that deep learning won't lead to reasoning.", JENSEN),
    ("29:04", "That deep learning won't lead to reasoning. But in order to predict that next word,", JENSEN),
    ("30:37", "that would enhance its ability to reason even further?", JENSEN),
    ("30:41", "You know, reasoning isn't this super well-defined concept,", ILYA),
    ("32:04", "Yeah, because one of the things that is really cool", JENSEN),
    ("32:35", "And so it seems to me that Chachapiti has this inherent capability embedded in it.", JENSEN),
    ("32:43", "The one way to think about what's happening now", ILYA),
    ("32:54", "In fact, you could say that reliability is currently the single biggest obstacle", ILYA),
    ("33:37", "that will allow us to have very accurate guardrails, which are very precise.", ILYA),
    ("33:44", "That's right.", JENSEN),
    ("33:45", "And it will make it ask for clarification where it's unsure,", ILYA),
    ("34:08", "Yeah. You know, speaking of factualness and factfulness,", JENSEN),
    ("34:39", "So the current GPT-4, as released,", ILYA),
    ("34:56", "Yeah, I'm about to ask you about my technology.", JENSEN),
    ("34:57", "It is really good at images,", ILYA),
    ("35:28", "Yeah, that's right.", JENSEN),
    ("35:29", "So in short, although GPT-4 does not support built-in retrieval,", ILYA),
    ("35:44", "Multi-modality.", JENSEN),
    ("36:54", "So there are two dimensions to multi-modality,", ILYA),
    ("38:28", "Only?", JENSEN),
    ("38:29", "Only one billion words.", ILYA),
    ("38:30", "That's amazing.", JENSEN),
    ("38:31", "That's not a lot.", ILYA),
    ("38:31", "Yeah, that's not a lot.", JENSEN),
    ("38:36", "Does that include my own words in my own head?", JENSEN),
    ("38:39", "Make it two billion, if you want.", ILYA),
    ("38:42", "Yeah.", JENSEN),
    ("38:43", "You know, we can see that because a billion seconds is 30 years.", ILYA),
    ("40:51", "You learn from images.", JENSEN),
    ("41:18", "Yes.", ILYA),
    ("41:19", "And if I wanted to augment all of that with sound,", JENSEN),
    ("41:55", "Yes. I think it's definitely the case that,", ILYA),
    ("42:18", "When you, on the context of the scores that I saw,", JENSEN),
    ("43:03", "AMC-10, yeah.", JENSEN),
    ("43:04", "12, right? And there, presumably, many of the problems have a diagram.", ILYA),
    ("44:08", "Yeah, that's incredible.", JENSEN),
    ("45:38", "Well, I think, like I wouldn't underestimate the data that exists out there.", ILYA),
    ("49:42", "It works through a proof. It works through a proof.", JENSEN),
    ("49:44", "Yeah.", ILYA),
    ("49:44", "That's pretty amazing.", JENSEN),
    ("49:45", "Not all proofs, naturally, but quite a few.", ILYA),
    ("50:02", "It follows instructions really, really clearly.", JENSEN),
    ("50:04", "Not perfectly still, but much better than before.", ILYA),
    ("50:07", "Yeah, really good.", JENSEN),
    ("50:08", "And on the vision side, I really love how it can explain jokes.", ILYA),
    ("50:54", "Yeah.", JENSEN),
    ("50:55", "Like it turned out to be the same little thing all along,", ILYA),
    ("51:12", "So it's like, wow.", ILYA),
    ("52:58", "Thank you so much.", ILYA),
    ("52:59", "Yeah, thank you.", JENSEN),
]


def places(corpus: Corpus, words: str, document: str = TRANSCRIPT) -> list[tuple[Word, ...]]:
    found = corpus.documents[document].occurrences(words)
    assert found, f"{words!r} does not stand in {document}"
    return found


@pytest.mark.parametrize(("time", "words", "speaker"), TURNS)
def test_the_speaker_of(corpus: Corpus, time: str, words: str, speaker: str) -> None:
    here = [p for p in places(corpus, words) if clock(p[0].start) == time]
    assert [{w.speaker for w in p} for p in here] == [{speaker}]


@pytest.mark.parametrize(
    ("words", "first", "second"),
    [
        ("GPUs came out. - you and I,", ILYA, JENSEN),
        ("in these areas? So GPT-4 is a pretty", JENSEN, ILYA),
        ("even further? You know, reasoning isn't", JENSEN, ILYA),
        ("which are very precise. That's right.", ILYA, JENSEN),
        ("That's right. And it will make it ask", JENSEN, ILYA),
        ("Yes. Larger networks, deeper networks,", ILYA, JENSEN),
        ("quite a bit longer now. Yeah, that's right. So in short,", ILYA, ILYA),
    ],
)
def test_a_turn_without_a_dash_still_changes_the_speaker(corpus: Corpus, words: str, first: str, second: str) -> None:
    for place in places(corpus, words):
        assert (place[0].speaker, place[-1].speaker) == (first, second)
        assert not corpus.documents[TRANSCRIPT].said_by(words, first)
        assert not corpus.documents[TRANSCRIPT].said_by(words, second)


def test_every_spoken_word_of_the_transcript_has_a_speaker(corpus: Corpus) -> None:
    spoken = [w for w in corpus.documents[TRANSCRIPT].words if w.spoken]
    assert len(spoken) > 7000
    assert {w.speaker for w in spoken} == {ILYA, JENSEN}


def test_marks_are_nobodys_words(corpus: Corpus) -> None:
    marks = [w for w in corpus.documents[TRANSCRIPT].words if not w.spoken]
    assert {w.text for w in marks} == {"-", "(laughs)", "(laughing)"}
    assert all(w.speaker is None for w in marks)


def test_no_sentence_holds_a_mark(corpus: Corpus) -> None:
    for sentence in corpus.sentences[TRANSCRIPT]:
        assert "(laugh" not in sentence.text
        assert not sentence.text.startswith("-")


def test_times_never_run_backwards(corpus: Corpus) -> None:
    starts = [w.start for w in corpus.documents[TRANSCRIPT].words if w.start is not None]
    assert starts == sorted(starts)
    assert len(starts) == len(corpus.documents[TRANSCRIPT].words)


@pytest.mark.parametrize(
    "chrome",
    [
        "Video Statistics",
        "Captions Word Cloud",
        "Reddit Comments",
        "Me&ChatGPT",
        "10,284",
        "out of 5",
        "Channel Id",
        "17min 49sec",
        "Related Videos",
        "currently a work in progress",
        "most powerful AI model",
        "GPT-4o",
        "Cash App",
        "Bitcoin",
        "STEM education",
        "encouraging listeners to subscribe",
        "MrBeast",
        "Elon Musk",
        "Kolmogorov complexity",
        "ChannelCapacity999",
        "Notes by",
        "Type: Video",
        "ab_channel",
        "A Journey Through Neural Network Architect",
    ],
)
def test_page_chrome_adverts_and_blurbs_are_no_corpus(corpus: Corpus, chrome: str) -> None:
    for document in corpus.documents.values():
        assert chrome not in document.spoken
    for passage in corpus.passages:
        assert chrome not in f"{passage.context} {passage.text} {passage.search}"


def test_broken_characters_are_mended_for_search(corpus: Corpus) -> None:
    (sentence,) = [s for s in corpus.sentences[TRANSCRIPT] if "â€”" in s.text]
    assert sentence.search.endswith("you know—")


def test_broken_characters_stay_in_what_is_quoted(corpus: Corpus) -> None:
    assert corpus.documents[TRANSCRIPT].said_by("Even though, you knowâ€”", ILYA)
    assert not corpus.documents[TRANSCRIPT].said_by("Even though, you know—", ILYA)


@pytest.mark.parametrize("broken", ["â€", "Â ", "Ã"])
def test_no_broken_character_is_searched(corpus: Corpus, broken: str) -> None:
    assert not [s for d in corpus.sentences.values() for s in d if broken in s.search]


@pytest.mark.parametrize(
    ("heard", "meant"),
    [
        ("Chad GPT", "ChatGPT"),
        ("Chachapiti", "ChatGPT"),
        ("Chad Chibiti", "ChatGPT"),
        ("Jeb Hinton", "Geoffrey Hinton"),
        ("Krzyzewski", "Krizhevsky"),
        ("Jan LeCun", "Yann LeCun"),
        ("UDA kernels", "CUDA kernels"),
        ("Kerzhevsky", "Krizhevsky"),
        ("DALI", "DALL·E"),
        ("WMD", "WMT"),
    ],
)
def test_a_misheard_name_is_searched_right_and_quoted_as_it_stands(corpus: Corpus, heard: str, meant: str) -> None:
    found = [s for d in corpus.sentences.values() for s in d if heard in s.text]
    assert found
    for sentence in found:
        assert heard not in sentence.search.replace(meant, "")
        assert meant in sentence.search


ALIGNED = [
    "if your neural network is deep and large",
    "a clear discontinuity",
    "people weren't looking at large neural networks",
    "such a great fit for the GPU",
    "our history and our paths intersected",
    "the idea of unsupervised learning through compression",
    "you must extract all the hidden secrets which exist in it",
    "a very strong belief that bigger is better",
    "we are learning a world model",
    "Big bang of AI",
    "some representation of the process",
]


@pytest.mark.parametrize("words", ALIGNED)
def test_captions_take_time_and_speaker_from_the_transcript(corpus: Corpus, words: str) -> None:
    plain = [w.casefold() for w in words.split()]

    def found(document: str) -> list[list[Word]]:
        spoken = [w for w in corpus.documents[document].words if w.spoken]
        key = [w.text.strip('.,?!"').casefold() for w in spoken]
        return [spoken[i : i + len(plain)] for i in range(len(key)) if key[i : i + len(plain)] == plain]

    transcript, captions = found(TRANSCRIPT), found(CAPTIONS)
    assert len(captions) == 1
    assert [(w.speaker, w.start, w.end) for w in captions[0]] in [
        [(w.speaker, w.start, w.end) for w in p] for p in transcript
    ]


def test_captions_lie_in_the_minutes_that_they_record(corpus: Corpus) -> None:
    starts = [w.start for w in corpus.documents[CAPTIONS].words if w.start is not None]
    assert min(starts) > 5 * 60 + 25
    assert max(starts) < 23 * 60 + 25
    assert starts == sorted(starts)


def test_most_caption_words_have_a_speaker(corpus: Corpus) -> None:
    words = corpus.documents[CAPTIONS].words
    assert sum(w.speaker is not None for w in words) > 0.95 * len(words)


def test_captions_keep_their_own_letters(corpus: Corpus) -> None:
    assert corpus.documents[CAPTIONS].occurrences("basian models and kernel methods")


def test_a_listeners_words_in_the_captions_are_not_the_speakers(corpus: Corpus) -> None:
    (place,) = corpus.documents[CAPTIONS].occurrences("as to what to do that's right Yan lean")
    assert [w.speaker for w in place if w.text in ("that's", "right")] == [None, None]


def test_captions_are_no_second_evidence(corpus: Corpus) -> None:
    assert not [p for p in corpus.passages if p.document == CAPTIONS]


def test_transcript_passages_that_the_captions_repeat_name_them(corpus: Corpus) -> None:
    for passage in corpus.passages:
        if passage.document == TRANSCRIPT:
            start, end = passage.sentences[0].start, passage.sentences[-1].end
            assert start is not None
            assert end is not None
            if start > 6 * 60 and end < 23 * 60:
                assert passage.also == (CAPTIONS,)
            if start > 24 * 60 or end < 5 * 60:
                assert CAPTIONS not in passage.also


@pytest.mark.parametrize("document", ["fireside-notes", "lex-podcast-summary", "theory-session-summary"])
def test_a_report_is_never_verbatim(corpus: Corpus, document: str) -> None:
    assert not corpus.documents[document].entry.kind.verbatim
    for sentence in corpus.sentences[document]:
        citation = cite([sentence], corpus)
        assert not citation.verbatim
        assert citation.speaker is None
        assert citation_stands(citation, corpus)


@pytest.mark.parametrize("document", ["fireside-notes", "lex-podcast-summary", "theory-session-summary"])
def test_a_report_cannot_be_passed_off_as_spoken(corpus: Corpus, document: str) -> None:
    for sentence in corpus.sentences[document]:
        forged = cite([sentence], corpus).model_copy(update={"verbatim": True, "speaker": ILYA})
        assert not citation_stands(forged, corpus)
        forged = forged.model_copy(update={"kind": DocumentKind.TRANSCRIPT})
        assert not citation_stands(forged, corpus)


def test_every_sentence_of_the_transcript_can_be_quoted(corpus: Corpus) -> None:
    for sentence in corpus.sentences[TRANSCRIPT]:
        citation = cite([sentence], corpus)
        assert citation.verbatim
        assert citation_stands(citation, corpus)


def test_only_the_two_of_the_recording_are_speakers(corpus: Corpus) -> None:
    assert corpus.speakers == [JENSEN, ILYA]


def test_dates_are_those_that_the_seeds_state(corpus: Corpus) -> None:
    assert {d.id: d.date for d in corpus.catalog.document} == {
        "fireside-transcript": None,
        "fireside-captions": "2024-05-25",
        "fireside-notes": "2023-05-17",
        "lex-podcast-summary": None,
        "theory-session-summary": "2022-03",
    }


def test_a_summarys_time_is_its_sections(corpus: Corpus) -> None:
    sentence = next(s for s in corpus.sentences["lex-podcast-summary"] if "CUDA kernels" in s.search)
    assert (sentence.start, sentence.end) == (143.0, 446.0)


def test_the_fingerprint_is_the_same_every_time(corpus: Corpus) -> None:
    again = load_card("ilya")
    assert load_corpus(again.catalog, again.aliases).fingerprint == corpus.fingerprint
