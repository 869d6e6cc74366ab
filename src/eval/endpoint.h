// The JSON of OpenAI-compatible servers: what is sent, and what a reply says.  No sockets.
#pragma once

#include <string>
#include <string_view>

#include "eval/prompt.h"

namespace precis {

/// The body of a request for greedy text.
std::string request_body(const EndpointOptions& options, PromptForm form, const EvalPrompt& prompt,
                         const EvalQuestion& question);

/// The text and the token counts of a reply, whole or as a stream of events.
///
/// Errors    kCorrupt — not JSON, no text where it belongs, or a stream without its end; the
///           message holds the beginning of what was received
Result<EvalReply> parse_reply(std::string_view body);

}  // namespace precis
