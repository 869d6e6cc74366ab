// Text in and out of the model: the tokenizer, the prompt of a conversation, the parts of a reply.
//
// Everything here is text and token numbers; nothing touches weights or files except
// Tokenizer::load.  Strings are UTF-8.  JSON goes in and out as text, so that no JSON library is
// part of this interface.  docs/prompt_encoding.md describes the prompt and reply formats.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "precis/status.h"

namespace precis {

// ---- Tokens ----------------------------------------------------------------------------------

using TokenId = std::int32_t;

/// What encode() does with the text of an added token such as "<｜User｜>" or "<think>".
enum class SpecialTokens : std::uint8_t {
  kParse,   // it becomes that token: for prompts rendered by render_chat
  kAsText,  // it is split like any other text: for text that must not steer the model
};

/// Whether decode() writes out tokens that the file marks as special.
enum class SpecialOutput : std::uint8_t { kKeep, kSkip };

/// A byte-level BPE tokenizer, read from a Hugging Face `tokenizer.json`.
///
/// Equal to the Python package `tokenizers` on the DeepSeek V3 and V4 files; a file that asks for
/// anything this class does not implement is refused by the name of the field.
/// Copies share one immutable table.  Threads may use one Tokenizer at the same time.
class Tokenizer {
 public:
  /// Reads the `tokenizer.json` at `path`.
  ///
  /// Errors    kNotFound, kIo — the file cannot be read; otherwise as parse()
  static Result<Tokenizer> load(const std::string& path);

  /// Reads the text of a `tokenizer.json`; `name` stands for it in messages.
  ///
  /// Errors    kCorrupt — not JSON, a field of the wrong type, a merge of unknown tokens, an id
  ///           twice; kUnsupported — a component or option that is not implemented
  static Result<Tokenizer> parse(std::string_view json_text, const std::string& name);

  /// The tokens of `text`.  Invalid UTF-8 counts as U+FFFD, replaced as by Python's
  /// bytes.decode("utf-8", "replace") and Rust's from_utf8_lossy, which agree.
  ///
  /// Errors    none
  /// Cost      linear in the text; n log n in the length of one word
  std::vector<TokenId> encode(std::string_view text, SpecialTokens special) const;

  /// The text of `tokens`: their bytes in a row, invalid UTF-8 replaced as in encode().
  /// Numbers that are no token are skipped.
  ///
  /// Errors    none
  std::string decode(std::span<const TokenId> tokens,
                     SpecialOutput special = SpecialOutput::kKeep) const;

  /// The bytes of one token, which may be part of a character; empty for a number that is no token.
  std::string_view token_bytes(TokenId id) const;

  /// The token whose text is `content` (an added token, or a vocabulary entry by its bytes).
  std::optional<TokenId> token_id(std::string_view content) const;

  /// Whether the file marks the token as special (`"special": true`).
  bool is_special(TokenId id) const;

  /// One more than the largest token number.
  int vocab_size() const;

  struct Tables;

 private:
  explicit Tokenizer(std::shared_ptr<const Tables> tables) : tables_(std::move(tables)) {}
  std::shared_ptr<const Tables> tables_;
};

/// Turns a stream of bytes into a stream of complete UTF-8.
///
/// What comes out in total depends only on the bytes, not on how feed() received them.
class Utf8Stream {
 public:
  /// Returns what is complete so far; an unfinished character at the end waits for the next call.
  std::string feed(std::string_view bytes);

  /// Ends the stream: an unfinished character becomes U+FFFD.
  std::string flush();

 private:
  std::string pending_;  // at most 3 bytes
};

// ---- Conversation to prompt ------------------------------------------------------------------

enum class ThinkingMode : std::uint8_t { kChat, kThinking };

/// Whether earlier turns lose their reasoning (only without tools; they always keep it then).
enum class DropThinking : std::uint8_t { kKeep, kDrop };

/// How hard to think.  Which levels exist, and their text, depends on EffortStyle.
enum class ReasoningEffort : std::uint8_t { kDefault, kLow, kHigh, kMax };

/// The release whose effort texts are meant.
enum class EffortStyle : std::uint8_t {
  kPreview,  // high: no text; max: "Absolute maximum"
  k0731,     // low (default): no text; high: "Absolute maximum"; max: "Beyond maximum"
};

struct ChatMessage {
  std::string role;  // "system", "user", "assistant" or "latest_reminder"
  std::string content;
  std::string reasoning_content;
};

struct ChatOptions {
  ThinkingMode thinking_mode = ThinkingMode::kThinking;
  DropThinking drop_thinking = DropThinking::kDrop;
  ReasoningEffort reasoning_effort = ReasoningEffort::kDefault;
  EffortStyle effort_style = EffortStyle::kPreview;
};

/// The prompt of a conversation, byte for byte as the official encoder writes it.
///
/// Ensures   the prompt begins with <｜begin▁of▁sentence｜>; encode it with SpecialTokens::kParse
/// Errors    kInvalidArgument — an unknown role, or an effort that the style does not have
/// Source    encoding_dsv4.py, encode_messages; docs/prompt_encoding.md
Result<std::string> render_chat(std::span<const ChatMessage> messages, const ChatOptions& options);

/// The same for a request with tools, tool results, response formats and tasks, as JSON text:
/// {"messages": […], "thinking_mode": "chat"|"thinking", "drop_thinking": bool,
///  "reasoning_effort": null|"low"|"high"|"max"}; all but `messages` may be left out.
///
/// Errors    kInvalidArgument — not JSON, or a message that the official encoder refuses too; the
///           message names its role and index
Result<std::string> render_chat(std::string_view request_json,
                                EffortStyle effort_style = EffortStyle::kPreview);

// ---- Reply to message ------------------------------------------------------------------------

/// The assistant message that a complete and well-formed reply (with its end token) stands for, as
/// JSON text with role, content, reasoning_content and tool_calls.
///
/// Errors    kInvalidArgument — whatever the official parser refuses: no end token, a call out of
///           form, a parameter twice, a special token in the content
/// Source    encoding_dsv4.py, parse_message_from_completion_text
Result<std::string> parse_reply_json(std::string_view reply, ThinkingMode mode);

struct ReplyEvent {
  enum class Kind : std::uint8_t {
    kReasoning,      // text: more of the reasoning
    kContent,        // text: more of the answer
    kToolCallBegin,  // text: the tool's name
    kToolArguments,  // text: more of the arguments, a JSON object when the call has ended
    kToolCallEnd,
    kWarning,  // text: what was tolerated; the reply is usable all the same
  };
  Kind kind;
  std::string text;
  int tool_call_idx = -1;  // for the three kToolCall… and kToolArguments kinds

  bool operator==(const ReplyEvent&) const = default;
};

/// Whether tool calls in a reply are recognised; kPlainText for a request without tools.
enum class ToolMarkup : std::uint8_t { kRecognise, kPlainText };

/// Splits a reply into its parts while it is being generated, and forgives malformed tool calls.
///
/// The events depend only on the text, not on where it was cut into pieces, once neighbouring
/// pieces of one kind are joined (docs/prompt_encoding.md lists what is forgiven).
/// No call fails: what cannot be understood is text, or dropped with a warning.
class ReplyParser {
 public:
  ReplyParser(ThinkingMode mode, ToolMarkup tools);
  ~ReplyParser();
  ReplyParser(ReplyParser&&) noexcept;
  ReplyParser& operator=(ReplyParser&&) noexcept;

  /// Takes the next piece (cut anywhere, even inside a character); returns what became certain.
  std::vector<ReplyEvent> feed(std::string_view piece);

  /// Ends the reply: closes open calls, gives out what was held back.
  std::vector<ReplyEvent> finish();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// ---- Conformance cases -----------------------------------------------------------------------

struct EncodingCaseResult {
  std::string kind;  // "encode" or "parse"
  std::string name;
  bool passed;
  std::string detail;  // the first difference; empty when passed
};

/// Runs a file of conformance cases: {"encode": [{name, messages, thinking_mode, drop_thinking,
/// reasoning_effort, prompt}], "parse": [{name, text, thinking_mode, message}]}.  A case with
/// `error` in place of its result passes when an error is reported.
///
/// Errors    kInvalidArgument — the text is not such a file
Result<std::vector<EncodingCaseResult>> run_encoding_cases(std::string_view cases_json);

}  // namespace precis
