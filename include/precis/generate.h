// The loop from a prompt to text: step, sample, decode, stop.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "precis/engine.h"
#include "precis/sampling.h"
#include "precis/session.h"

namespace precis {

struct GenerateOptions {
  std::int64_t max_new_tokens = 512;
  SamplingOptions sampling = {};
  std::vector<std::string> stop = {};            // generation ends before the first of these
  std::vector<TokenId> stop_tokens = {};         // besides the model's end of sentence
  SpecialOutput special = SpecialOutput::kSkip;  // whether special tokens appear in the text
};

enum class FinishReason : std::uint8_t { kStop, kLength, kContext, kCancelled };
std::string_view finish_reason_name(
    FinishReason reason);  // "stop", "length", "context", "cancelled"

struct Generated {
  std::string text;
  std::vector<SampledToken> tokens;  // the end-of-sentence token included where it was sampled
  FinishReason finish = FinishReason::kStop;
};

/// Called once for each sampled token, before the token is stepped, with the complete UTF-8 text
/// that it made certain (none while a character or a stop string is open); false stops.
using TextFn = std::function<bool(std::string_view text, const SampledToken& token)>;

/// Generates from where the session stands.
///
/// Requires  session.position() > 0
/// Ensures   text that could still become a stop string is held back until it is decided; the
///           session holds every token that was generated and stepped
/// Errors    as Session::step; kInvalidArgument — sampling options out of range
Result<Generated> generate(Engine& engine, Session& session, const GenerateOptions& options,
                           const TextFn& on_text = {});

}  // namespace precis
