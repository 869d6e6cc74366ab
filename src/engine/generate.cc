// The loop from logits to text.  Sampling and stop strings are src/sampling; this file owns the
// order of events: sample, decide whether it ends, give out text, step.
#include "precis/generate.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "sampling/stop_text.h"

namespace precis {
namespace {

Result<void> check_options(const GenerateOptions& options, int vocab_size) {
  if (options.max_new_tokens < 0) {
    return Error{
        ErrorCode::kInvalidArgument,
        fmt::format("max_new_tokens must not be negative, found {}", options.max_new_tokens)};
  }
  for (const std::string& stop : options.stop) {
    if (stop.empty()) {
      return Error{ErrorCode::kInvalidArgument, "a stop string must not be empty"};
    }
  }
  return validate(options.sampling, vocab_size);
}

// Bytes of tokens to text that may be shown: whole characters, before any stop string.
class TextOutput {
 public:
  TextOutput(const Tokenizer& tokenizer, const GenerateOptions& options)
      : tokenizer_(tokenizer), special_(options.special), stop_text_(options.stop) {}

  std::string feed(TokenId token) {
    if (special_ == SpecialOutput::kSkip && tokenizer_.is_special(token)) return {};
    return stop_text_.feed(characters_.feed(tokenizer_.token_bytes(token)));
  }

  std::string flush() {
    std::string text = stop_text_.feed(characters_.flush());
    return text + stop_text_.flush();
  }

  bool stopped() const { return stop_text_.stopped(); }

 private:
  const Tokenizer& tokenizer_;
  SpecialOutput special_;
  Utf8Stream characters_;
  StopText stop_text_;
};

}  // namespace

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kContext: return "context";
    case FinishReason::kCancelled: return "cancelled";
  }
  return "unknown";
}

Result<Generated> generate(Engine& engine, Session& session, const GenerateOptions& options,
                           const TextFn& on_text) {
  PRECIS_CHECK(session.position() > 0);
  PRECIS_TRY(check_options(options, engine.info().vocab_size));

  const auto n_prompt = static_cast<std::size_t>(session.position());
  const auto ends = [&](TokenId token) {
    return token == engine.info().eos_token ||
           std::ranges::find(options.stop_tokens, token) != options.stop_tokens.end();
  };
  Sampler sampler(options.sampling);
  TextOutput output(engine.tokenizer(), options);
  Generated generated{.text = {}, .tokens = {}, .finish = FinishReason::kLength};

  while (static_cast<std::int64_t>(generated.tokens.size()) < options.max_new_tokens) {
    const std::span<const TokenId> held = session.tokens();
    SampledToken token =
        sampler.sample(session.logits(), held.first(n_prompt), held.subspan(n_prompt));

    std::optional<FinishReason> finish;
    std::string text;
    if (ends(token.token)) {
      finish = FinishReason::kStop;
    } else {
      text = output.feed(token.token);
      if (output.stopped()) {
        finish = FinishReason::kStop;
      } else if (static_cast<std::int64_t>(generated.tokens.size()) + 1 == options.max_new_tokens) {
        finish = FinishReason::kLength;
      } else if (session.position() == session.max_tokens()) {
        finish = FinishReason::kContext;
      }
    }
    if (finish) text += output.flush();

    generated.text += text;
    generated.tokens.push_back(std::move(token));
    const SampledToken& last = generated.tokens.back();
    if (on_text && !on_text(text, last) && !finish) finish = FinishReason::kCancelled;
    if (finish) {
      // The last token is not stepped: only a continuation needs its logits, and a sync of the
      // longer prompt computes them.
      generated.finish = *finish;
      return generated;
    }
    PRECIS_TRY(session.step(last.token));
  }
  return generated;
}

}  // namespace precis
