//! The parts of a record, and the keys under which files keep them.

/// A part of a record, in the order in which a shape lists the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Slot {
    /// The instructions before the conversation.
    System,
    /// Earlier turns.
    History,
    /// The prompt.
    Prompt,
    /// A text that follows the prompt on its own line.
    Input,
    /// A whole conversation.
    Messages,
    Chosen,
    Rejected,
    /// The one answer of a demonstration or of a labelled record.
    Completion,
    /// Whether the completion is good.
    Label,
    /// Several answers, of which some are better than others.
    Candidates,
    /// One score for each candidate.
    Scores,
    /// Which of two answers is better.
    Verdict,
    PromptIds,
    ChosenIds,
    RejectedIds,
    ChosenScore,
    RejectedScore,
    /// The chosen score minus the rejected score.
    Margin,
    /// What the pair's loss counts.
    Weight,
}

/// All parts.
const ALL: [Slot; 19] = [
    Slot::System,
    Slot::History,
    Slot::Prompt,
    Slot::Input,
    Slot::Messages,
    Slot::Chosen,
    Slot::Rejected,
    Slot::Completion,
    Slot::Label,
    Slot::Candidates,
    Slot::Scores,
    Slot::Verdict,
    Slot::PromptIds,
    Slot::ChosenIds,
    Slot::RejectedIds,
    Slot::ChosenScore,
    Slot::RejectedScore,
    Slot::Margin,
    Slot::Weight,
];

/// Keys that change the prompt in a way that is not supported.
pub(super) const UNUSABLE: [&str; 14] = [
    "tools",
    "functions",
    "documents",
    "image",
    "images",
    "image_url",
    "video",
    "videos",
    "audio",
    "audios",
    "chat_template",
    "chat_template_kwargs",
    "prefill",
    "assistant_prefix",
];

/// True if the key, in any spelling, is part of the prompt.
pub(super) fn is_asked(key: &str) -> bool {
    let known = Slot::of(key).is_some_and(|slot| ASKED.contains(&slot));
    known || UNUSABLE.contains(&key) || meant(key).is_some()
}

/// The parts of the prompt.
const ASKED: [Slot; 5] = [
    Slot::System,
    Slot::History,
    Slot::Prompt,
    Slot::Input,
    Slot::Messages,
];

/// The key of a prompt's part of which `key` is another spelling: `system_prompt` for `systemPrompt`. `None`
/// if `key` is that key itself, or no spelling of one.
pub(super) fn meant(key: &str) -> Option<&'static str> {
    let names = ASKED.iter().flat_map(|slot| slot.names()).chain(&UNUSABLE);
    let mut names = names.copied();
    names.find(|name| *name != key && letters(name).eq(letters(key)))
}

/// A key's letters and digits in lower case.
fn letters(key: &str) -> impl Iterator<Item = char> {
    key.chars()
        .filter(|character| character.is_alphanumeric())
        .flat_map(char::to_lowercase)
}

impl Slot {
    /// The keys under which files keep the part, the most usual one first.
    #[rustfmt::skip]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Slot::System => &["system", "system_prompt", "system_message"],
            Slot::History => &["history", "chat_history"],
            Slot::Prompt => &["prompt", "instruction", "question", "query"],
            Slot::Input => &["input", "context"],
            Slot::Messages => &["messages", "conversations", "conversation"],
            Slot::Chosen => &["chosen", "chosen_response", "accepted", "response_j"],
            Slot::Rejected => &["rejected", "rejected_response", "response_k"],
            Slot::Completion => &["completion", "output", "response", "answer"],
            Slot::Label => &["label", "kto_tag"],
            Slot::Candidates => &[
                "completions", "responses", "answers", "candidates", "generations", "outputs",
                "all_generated_responses",
            ],
            Slot::Scores => &["scores", "ratings", "rewards", "all_rm_scores", "ranks", "rank"],
            Slot::Verdict => &[
                "winner", "preference", "better_response_id", "overall_preference",
                "preference_strength",
            ],
            Slot::PromptIds => &["prompt_ids"],
            Slot::ChosenIds => &["chosen_ids"],
            Slot::RejectedIds => &["rejected_ids"],
            Slot::ChosenScore => &[
                "score_chosen", "chosen_score", "chosen_rating", "rating_chosen", "chosen-rating",
            ],
            Slot::RejectedScore => &[
                "score_rejected", "rejected_score", "rejected_rating", "rating_rejected",
                "rejected-rating",
            ],
            Slot::Margin => &["margin"],
            Slot::Weight => &["weight"],
        }
    }

    /// The most usual key.
    pub fn name(self) -> &'static str {
        self.names()[0]
    }

    /// The part that a key stands for.
    pub fn of(name: &str) -> Option<Slot> {
        let mut all = ALL.into_iter();
        all.find(|slot| slot.names().contains(&name))
    }
}
