// The forgiving reader of a reply that is still being written.
//
// A state machine over complete characters.  At every '<' (and at newlines in front of one) it
// either knows what stands there or waits; since it never decides on less than the whole tag, the
// cuts between pieces cannot show in the events.
#include <algorithm>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "precis/text.h"

#include "base/check.h"
#include "text/dsml_tag.h"
#include "text/prompt_text.h"
#include "text/python_json.h"

namespace precis {
namespace {

using namespace prompt_text;
using Kind = ReplyEvent::Kind;
using Element = DsmlTag::Element;

enum class State : std::uint8_t {
  kReasoning,
  kContent,
  kBlock,  // between calls
  kCall,   // between the parameters of a call
  kValue,  // inside a parameter
  kAfterCalls,
  kEnded,  // behind the end token
};

constexpr std::string_view kSpaces = " \t\r\n";

// What stands at a '<'.
struct Mark {
  enum class Kind : std::uint8_t { kText, kUndecided, kEndToken, kThinkEnd, kTag };
  Kind kind;
  std::size_t n_bytes = 1;
  DsmlTag tag = {};
};

bool is_cut_short(std::string_view text, std::string_view word) {
  return text.size() < word.size() && word.starts_with(text);
}

std::size_t count_without_spaces(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return kSpaces.find(c) == kSpaces.npos; }));
}

}  // namespace

class ReplyParser::Impl {
 public:
  Impl(ThinkingMode mode, ToolMarkup tools)
      : state_(mode == ThinkingMode::kThinking ? State::kReasoning : State::kContent),
        recognises_tools_(tools == ToolMarkup::kRecognise) {}

  std::vector<ReplyEvent> feed(std::string_view piece) {
    buffer_ += utf8_.feed(piece);
    run();
    return std::exchange(events_, {});
  }

  std::vector<ReplyEvent> finish() {
    buffer_ += utf8_.flush();
    is_final_ = true;
    run();
    end_reply();
    if (n_stray_bytes_ > 0) {
      warn(fmt::format("{} bytes of text among or behind the tool calls were dropped",
                       n_stray_bytes_));
    }
    return std::exchange(events_, {});
  }

 private:
  void run() {
    std::size_t pos = 0;
    while (pos < buffer_.size()) {
      const std::string_view rest = std::string_view(buffer_).substr(pos);
      const std::size_t n_bytes = step(rest);
      if (n_bytes == 0) break;
      pos += n_bytes;
    }
    buffer_.erase(0, pos);
  }

  // Handles the start of `rest`; returns how much is done, 0 when more text is needed.
  std::size_t step(std::string_view rest) {
    if (state_ == State::kEnded) {
      n_stray_bytes_ += count_without_spaces(rest);
      return rest.size();
    }
    if (state_ == State::kReasoning && reasoning_.empty()) {
      if (rest.starts_with(kThinkStart)) {
        warn("the opening <think> was repeated");
        return kThinkStart.size();
      }
      if (is_cut_short(rest, kThinkStart) && !is_final_) return 0;
    }
    if (state_ == State::kContent && rest[0] == '\n') return step_newlines(rest);
    if (rest[0] == '<') return step_mark(rest);
    const std::size_t end = rest.find_first_of(state_ == State::kContent ? "<\n" : "<");
    const std::size_t n_bytes = std::min(end, rest.size());
    take_text(rest.substr(0, n_bytes));
    return n_bytes;
  }

  // Up to two newlines belong to a block of tool calls that follows, not to the content.
  std::size_t step_newlines(std::string_view rest) {
    const std::size_t run_end = std::min(rest.find_first_not_of('\n'), rest.size());
    const std::size_t n_held = std::min<std::size_t>(run_end, 2);
    const std::size_t n_free = run_end - n_held;
    bool holds = run_end == rest.size();
    bool drops = false;
    if (!holds && rest[run_end] == '<') {
      const Mark mark = mark_at(rest.substr(run_end));
      holds = mark.kind == Mark::Kind::kUndecided;
      drops = mark.kind == Mark::Kind::kTag && opens_calls(mark.tag);
    }
    if (is_final_) holds = false;
    const bool keeps_back = holds || drops;
    take_text(rest.substr(0, keeps_back ? n_free : run_end));
    return holds ? n_free : run_end;
  }

  std::size_t step_mark(std::string_view rest) {
    const Mark mark = mark_at(rest);
    switch (mark.kind) {
      case Mark::Kind::kUndecided:
        if (!is_final_) return 0;
        take_cut_mark(rest);
        return rest.size();
      case Mark::Kind::kEndToken: end_reply(); return mark.n_bytes;
      case Mark::Kind::kThinkEnd: state_ = State::kContent; return mark.n_bytes;
      case Mark::Kind::kTag:
        if (take_tag(mark.tag)) return mark.n_bytes;
        break;
      case Mark::Kind::kText: break;
    }
    take_text(rest.substr(0, 1));
    return 1;
  }

  Mark mark_at(std::string_view text) const {
    if (text.starts_with(kEndOfSentence)) return {Mark::Kind::kEndToken, kEndOfSentence.size()};
    bool undecided = is_cut_short(text, kEndOfSentence);
    if (state_ == State::kReasoning) {
      if (text.starts_with(kThinkEnd)) return {Mark::Kind::kThinkEnd, kThinkEnd.size()};
      undecided |= is_cut_short(text, kThinkEnd);
    } else if (recognises_tools_) {
      Mark mark{Mark::Kind::kTag};
      const TagMatch match = match_dsml_tag(text, &mark.tag);
      mark.n_bytes = mark.tag.n_bytes;
      if (match == TagMatch::kTag) return mark;
      undecided |= match == TagMatch::kPartial;
    }
    return {undecided ? Mark::Kind::kUndecided : Mark::Kind::kText};
  }

  static bool opens_calls(const DsmlTag& tag) {
    return !tag.is_closing && tag.element != Element::kParameter;
  }

  // Text that is no markup where it stands.
  void take_text(std::string_view text) {
    if (text.empty()) return;
    switch (state_) {
      case State::kReasoning:
        reasoning_ += text;
        emit(Kind::kReasoning, text);
        return;
      case State::kContent: emit(Kind::kContent, text); return;
      case State::kValue: take_value_text(text); return;
      case State::kBlock:
      case State::kCall:
      case State::kAfterCalls:
      case State::kEnded: n_stray_bytes_ += count_without_spaces(text); return;
    }
  }

  // The reply ended inside what may be a tag: a beginning of DSML is no text for anybody.
  void take_cut_mark(std::string_view text) {
    if (state_ == State::kReasoning || text.find("DSML") == text.npos) {
      take_text(text);
    } else {
      warn("the reply ended inside a tag");
    }
  }

  // Returns whether the tag means something here; otherwise it is text.
  bool take_tag(const DsmlTag& tag) {
    switch (state_) {
      case State::kReasoning:
      case State::kEnded: return false;
      case State::kContent:
        if (!opens_calls(tag)) return false;
        break;
      case State::kValue:
        if (!tag.is_closing) return false;
        break;
      case State::kBlock:
      case State::kCall:
      case State::kAfterCalls: break;
    }
    if (!tag.is_regular) warn("a tag of a tool call was not in the official form");
    if (state_ == State::kValue) {
      end_value();
      if (tag.element == Element::kParameter) return true;
      warn("a parameter had no closing tag");
    }
    tag.is_closing ? take_closing_tag(tag.element) : take_opening_tag(tag);
    return true;
  }

  void take_opening_tag(const DsmlTag& tag) {
    switch (tag.element) {
      case Element::kBlock:
        if (state_ != State::kContent) warn("the tool calls were opened more than once");
        if (state_ != State::kCall) state_ = State::kBlock;
        return;
      case Element::kInvoke:
        if (state_ == State::kCall) {
          warn("a call had no closing tag");
          end_call();
        } else if (state_ != State::kBlock) {
          warn("a call stood outside of a block of tool calls");
        }
        begin_call(tag);
        return;
      case Element::kParameter:
        if (state_ == State::kCall) {
          begin_value(tag);
        } else {
          warn("a parameter stood outside of a call");
        }
        return;
    }
  }

  void take_closing_tag(Element element) {
    if (state_ == State::kCall && element != Element::kParameter) {
      if (element == Element::kBlock) warn("a call had no closing tag");
      end_call();
      state_ = element == Element::kBlock ? State::kAfterCalls : State::kBlock;
    } else if (state_ == State::kBlock && element == Element::kBlock) {
      state_ = State::kAfterCalls;
    } else {
      warn("a closing tag had nothing to close");
    }
  }

  void begin_call(const DsmlTag& tag) {
    if (!tag.name_attribute) warn("a call had no name");
    state_ = State::kCall;
    ++call_idx_;
    parameter_names_.clear();
    emit_call(Kind::kToolCallBegin, tag.name_attribute.value_or(""));
  }

  void end_call() {
    emit_call(Kind::kToolArguments, parameter_names_.empty() ? "{}" : "}");
    emit_call(Kind::kToolCallEnd, "");
  }

  void begin_value(const DsmlTag& tag) {
    state_ = State::kValue;
    value_.clear();
    value_is_string_ = tag.string_attribute == "true";
    const std::string name = tag.name_attribute.value_or("");
    if (!tag.name_attribute) warn("a parameter had no name");
    if (!tag.string_attribute) warn("a parameter did not say whether it is a string");
    value_is_dropped_ =
        std::find(parameter_names_.begin(), parameter_names_.end(), name) != parameter_names_.end();
    if (value_is_dropped_) {
      warn("a parameter occurred twice; the first one counts");
      return;
    }
    const std::string_view before = parameter_names_.empty() ? "{" : ", ";
    emit_call(Kind::kToolArguments, std::string(before) + dump_json_string(name) + ": ");
    if (value_is_string_) emit_call(Kind::kToolArguments, "\"");
    parameter_names_.push_back(name);
  }

  // Strings go out as they come; JSON has to be complete before it can be judged.
  void take_value_text(std::string_view text) {
    if (value_is_dropped_) return;
    if (!value_is_string_) {
      value_ += text;
      return;
    }
    std::string escaped;
    append_json_escaped(text, escaped);
    emit_call(Kind::kToolArguments, escaped);
  }

  void end_value() {
    state_ = State::kCall;
    if (value_is_dropped_) return;
    if (value_is_string_) {
      emit_call(Kind::kToolArguments, "\"");
    } else if (nlohmann::json::accept(value_)) {
      emit_call(Kind::kToolArguments, value_);
    } else {
      warn("a parameter was not the JSON it said it was; it became a string");
      emit_call(Kind::kToolArguments, dump_json_string(value_));
    }
  }

  // At the end token or the end of the text; text that follows is stray.
  void end_reply() {
    const State ended_in = state_;
    if (state_ == State::kValue) end_value();
    if (state_ == State::kCall) {
      end_call();
      last_call_was_cut_ = true;
      warn("the reply ended inside a call");
    } else if (state_ == State::kBlock) {
      warn("the tool calls had no closing tag");
    }
    state_ = State::kEnded;
    if (ended_in == State::kReasoning && recognises_tools_) recover_calls();
  }

  // A model that forgets </think> may still have made its calls: whole ones are worth having.
  void recover_calls() {
    for (std::size_t pos = reasoning_.find('<'); pos != reasoning_.npos;
         pos = reasoning_.find('<', pos + 1)) {
      const std::string_view tail = std::string_view(reasoning_).substr(pos);
      DsmlTag tag;
      if (match_dsml_tag(tail, &tag) != TagMatch::kTag || !opens_calls(tag)) continue;
      Impl inner(ThinkingMode::kChat, ToolMarkup::kRecognise);
      std::vector<ReplyEvent> events = inner.feed(tail);
      std::vector<ReplyEvent> last = inner.finish();
      events.insert(events.end(), last.begin(), last.end());
      if (inner.call_idx_ < 0 || inner.last_call_was_cut_) return;
      warn("tool calls were found in reasoning that was never closed");
      for (const ReplyEvent& event : events) emit(event.kind, event.text, event.tool_call_idx);
      return;
    }
  }

  void warn(std::string_view text) { events_.push_back({Kind::kWarning, std::string(text)}); }

  void emit_call(Kind kind, std::string_view text) { emit(kind, text, call_idx_); }

  void emit(Kind kind, std::string_view text, int tool_call_idx = -1) {
    const bool is_stretch =
        kind == Kind::kReasoning || kind == Kind::kContent || kind == Kind::kToolArguments;
    if (is_stretch && !events_.empty() && events_.back().kind == kind &&
        events_.back().tool_call_idx == tool_call_idx) {
      events_.back().text += text;
    } else {
      events_.push_back({kind, std::string(text), tool_call_idx});
    }
  }

  State state_;
  bool recognises_tools_;
  bool is_final_ = false;
  Utf8Stream utf8_;
  std::string buffer_;     // complete characters that are not yet decided
  std::string reasoning_;  // all of it, for calls that have to be recovered from it
  std::vector<ReplyEvent> events_;
  std::size_t n_stray_bytes_ = 0;

  int call_idx_ = -1;
  std::vector<std::string> parameter_names_;  // of the open call
  std::string value_;                         // of the open parameter, while it is JSON
  bool value_is_string_ = false;
  bool value_is_dropped_ = false;
  bool last_call_was_cut_ = false;
};

ReplyParser::ReplyParser(ThinkingMode mode, ToolMarkup tools)
    : impl_(std::make_unique<Impl>(mode, tools)) {}
ReplyParser::~ReplyParser() = default;
ReplyParser::ReplyParser(ReplyParser&&) noexcept = default;
ReplyParser& ReplyParser::operator=(ReplyParser&&) noexcept = default;

std::vector<ReplyEvent> ReplyParser::feed(std::string_view piece) {
  return impl_->feed(piece);
}

std::vector<ReplyEvent> ReplyParser::finish() {
  return impl_->finish();
}

}  // namespace precis
