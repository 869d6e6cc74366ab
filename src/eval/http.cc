#include "eval/http.h"

#include <chrono>
#include <cstdlib>

#include <fmt/format.h>
#include <httplib.h>

namespace precis {

Result<HttpUrl> parse_url(const std::string& url) {
  for (const std::string scheme : {"http://", "https://"}) {
    if (!url.starts_with(scheme) || url.size() == scheme.size() || url[scheme.size()] == '/')
      continue;
    const std::size_t path = std::min(url.find('/', scheme.size()), url.size());
    return HttpUrl{url.substr(0, path), url.substr(path)};
  }
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("--url: want http://HOST… or https://HOST…, found \"{}\"", url)};
}

HttpReply post_json(const HttpUrl& url,
                    const std::vector<std::pair<std::string, std::string>>& headers,
                    const std::string& body, double timeout_seconds) {
  HttpReply reply;
  // The library reports bad ports and missing TLS by exceptions.
  try {
    httplib::Client client(url.server);
    const std::chrono::duration<double> timeout(timeout_seconds);
    const auto whole = std::chrono::duration_cast<std::chrono::microseconds>(timeout);
    client.set_connection_timeout(whole);
    client.set_read_timeout(whole);
    client.set_write_timeout(whole);
    const httplib::Headers all(headers.begin(), headers.end());
    const httplib::Result result = client.Post(url.path, all, body, "application/json");
    if (!result) {
      reply.failure = result.error() == httplib::Error::Connection ? "no connection"
                      : result.error() == httplib::Error::Read
                          ? "the reply did not come in time, or ended early"
                          : httplib::to_string(result.error());
      return reply;
    }
    reply.status = result->status;
    reply.body = result->body;
    reply.retry_after_seconds =
        std::strtod(result->get_header_value("Retry-After").c_str(), nullptr);
  } catch (const std::exception& e) {
    reply.failure = e.what();
  }
  return reply;
}

}  // namespace precis
