// One HTTP request.  http.cc alone includes the HTTP library, whose header is large.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "precis/status.h"

namespace precis {

/// "http://host:8000" and "/v1/chat/completions".
struct HttpUrl {
  std::string server;
  std::string path;  // "" or from its first slash on
};

/// Errors    kInvalidArgument — not http:// or https:// and a host
Result<HttpUrl> parse_url(const std::string& url);

struct HttpReply {
  int status = 0;       // 0: none came
  std::string body;     // as far as it came
  std::string failure;  // why no whole reply came: "connection refused", "timed out", …
  double retry_after_seconds = 0;  // what the server asks for
};

/// Posts JSON and waits for the whole reply.
///
/// Errors    none; the reply says what went wrong
HttpReply post_json(const HttpUrl& url,
                    const std::vector<std::pair<std::string, std::string>>& headers,
                    const std::string& body, double timeout_seconds);

}  // namespace precis
