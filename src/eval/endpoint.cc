// Answers by an OpenAI-compatible server: requests, replies, and trying again.
#include "eval/endpoint.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/env.h"
#include "eval/frame.h"
#include "eval/http.h"

namespace precis {
namespace {

using Json = nlohmann::ordered_json;
using Seconds = std::chrono::duration<double>;

constexpr double kLongestWaitSeconds = 60;

// The beginning of what was received, in one line, for messages.
std::string shown(std::string_view body) {
  constexpr std::size_t kBytes = 200;
  std::string out(body.substr(0, kBytes));
  std::ranges::replace_if(
      out, [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return fmt::format("\"{}{}\"", out, body.size() > kBytes ? "…" : "");
}

bool is_worth_another_try(int status) {
  return status == 0 || status == 408 || status == 429 || status == 500 || status == 502 ||
         status == 503 || status == 504;
}

// The text of one choice: of a message, of a piece of one, or of a completion.
std::string text_of(const Json& choice) {
  for (const char* holder : {"message", "delta"}) {
    if (!choice.contains(holder)) continue;
    const Json content = choice.at(holder).value("content", Json());
    return content.is_string() ? content.get<std::string>() : std::string();
  }
  return choice.at("text").get<std::string>();
}

// Adds one object of a reply; whether it says that the reply is complete.
bool add_part(const Json& part, EvalReply& reply) {
  if (part.contains("usage") && part.at("usage").is_object()) {
    reply.n_prompt_tokens = part.at("usage").value("prompt_tokens", std::int64_t{0});
    reply.n_tokens = part.at("usage").value("completion_tokens", std::int64_t{0});
  }
  const Json& choices = part.at("choices");
  if (choices.empty()) return false;
  const Json& choice = choices.at(0);
  reply.text += text_of(choice);
  return choice.contains("finish_reason") && !choice.at("finish_reason").is_null();
}

Result<EvalReply> parse_events(std::string_view body) {
  constexpr std::string_view kData = "data:";
  EvalReply reply;
  bool complete = false;
  for (std::size_t begin = 0; begin < body.size();) {
    const std::size_t end = std::min(body.find('\n', begin), body.size());
    std::string_view line = body.substr(begin, end - begin);
    begin = end + 1;
    if (!line.starts_with(kData)) continue;
    line.remove_prefix(std::min(line.find_first_not_of(' ', kData.size()), line.size()));
    if (line.starts_with("[DONE]")) {
      complete = true;
    } else {
      complete = add_part(Json::parse(line), reply) || complete;
    }
  }
  if (complete) return reply;
  return Error{ErrorCode::kCorrupt, fmt::format("the stream ended early: {}", shown(body))};
}

class EndpointSubject : public EvalSubject {
 public:
  EndpointSubject(EndpointOptions options, HttpUrl url, PromptForm form,
                  std::vector<std::pair<std::string, std::string>> headers)
      : options_(std::move(options)),
        url_(std::move(url)),
        form_(form),
        headers_(std::move(headers)) {}

  std::vector<std::pair<std::string, std::string>> description() const override {
    return {{"model", options_.model}, {"url", url_.server + url_.path}};
  }
  int max_parallel() const override { return options_.n_parallel; }
  std::int64_t max_tokens() const override { return 0; }
  bool has_engine() const override { return false; }
  double busy_seconds() const override {
    const std::lock_guard lock(mutex_);
    return busy_seconds_;
  }

  Result<void> answer(const EvalPrompt& prompt, std::span<const std::size_t> wanted,
                      const EvalReplyFn& on_reply, const EvalContinueFn& go_on) override {
    for (const std::size_t i : wanted) {
      const std::string body = request_body(options_, form_, prompt, prompt.questions[i]);
      const Clock::time_point start = Clock::now();
      auto reply = ask(body, go_on);
      const double seconds = seconds_since(start);
      {
        const std::lock_guard lock(mutex_);
        busy_seconds_ += seconds;
      }
      if (!reply) return std::move(reply).error();
      reply->seconds = seconds;
      PRECIS_TRY(on_reply(i, *std::move(reply)));
    }
    return {};
  }

 private:
  // Tries until a usable reply comes, the tries are used up, or trying again cannot help.
  Result<EvalReply> ask(const std::string& body, const EvalContinueFn& go_on) const {
    double wait_seconds = options_.first_wait_seconds;
    for (int n_tries = 1;; ++n_tries) {
      if (!go_on())
        return Error{ErrorCode::kCancelled, "stopped; the same command goes on from here"};
      const HttpReply http = post_json(url_, headers_, body, options_.timeout_seconds);
      Error error{ErrorCode::kIo, http.failure};
      if (http.status == 200) {
        auto reply = parse_reply(http.body);
        if (reply) return reply;
        error = std::move(reply).error();
      } else if (http.status != 0) {
        error.message = fmt::format("HTTP status {}: {}", http.status, shown(http.body));
      }
      if (n_tries > options_.n_retries ||
          (http.status != 200 && !is_worth_another_try(http.status))) {
        return std::move(error).with_context(fmt::format("{}{} gave no usable reply in {} {}",
                                                         url_.server, url_.path, n_tries,
                                                         n_tries == 1 ? "try" : "tries"));
      }
      pause(std::clamp(http.retry_after_seconds, wait_seconds, kLongestWaitSeconds), go_on);
      wait_seconds = std::min(2 * wait_seconds, kLongestWaitSeconds);
    }
  }

  // Waits, but not longer than somebody wants to go on.
  static void pause(double seconds, const EvalContinueFn& go_on) {
    const Clock::time_point end =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
    while (Clock::now() < end && go_on()) {
      std::this_thread::sleep_for(
          std::min<Clock::duration>(std::chrono::milliseconds(100), end - Clock::now()));
    }
  }

  EndpointOptions options_;
  HttpUrl url_;
  PromptForm form_;
  std::vector<std::pair<std::string, std::string>> headers_;
  mutable std::mutex mutex_;
  double busy_seconds_ = 0;
};

Result<void> check(const EndpointOptions& options) {
  const auto refuse = [](std::string message) {
    return Error{ErrorCode::kInvalidArgument, std::move(message)};
  };
  if (options.n_parallel < 1)
    return refuse(fmt::format("--parallel must be at least 1, found {}", options.n_parallel));
  if (options.n_retries < 0)
    return refuse(fmt::format("--retries must not be negative, found {}", options.n_retries));
  if (!(options.timeout_seconds > 0))
    return refuse(
        fmt::format("--timeout must be above 0 seconds, found {}", options.timeout_seconds));
  return {};
}

}  // namespace

std::string request_body(const EndpointOptions& options, PromptForm form, const EvalPrompt& prompt,
                         const EvalQuestion& question) {
  const std::string text = prompt.context + question_text(form, question);
  Json body = {{"temperature", 0}, {"max_tokens", question.allowance}, {"stream", options.stream}};
  if (!options.model.empty()) body["model"] = options.model;
  if (form == PromptForm::kChat) {
    body["messages"] = Json::array({{{"role", "user"}, {"content", text}}});
  } else {
    body["prompt"] = text;
  }
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<EvalReply> parse_reply(std::string_view body) {
  const std::size_t first = body.find_first_not_of(" \r\n");
  try {
    if (first != std::string_view::npos &&
        (body.substr(first).starts_with("data:") || body[first] == ':'))
      return parse_events(body);
    EvalReply reply;
    add_part(Json::parse(body), reply);
    return reply;
  } catch (const Json::exception& e) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("the reply is not what a completion looks like: {} ({})", shown(body),
                             e.what())};
  }
}

Result<std::unique_ptr<EvalSubject>> endpoint_subject(const EndpointOptions& options,
                                                      PromptForm form) {
  PRECIS_TRY(check(options));
  PRECIS_ASSIGN_OR_RETURN(HttpUrl url, parse_url(options.url));
  while (url.path.ends_with('/')) url.path.pop_back();
  if (url.path.empty()) url.path = "/v1";
  if (!url.path.ends_with("/completions")) {
    url.path += form == PromptForm::kChat ? "/chat/completions" : "/completions";
  }
  std::vector<std::pair<std::string, std::string>> headers;
  if (!options.api_key_env.empty()) {
    const auto key = env_named(options.api_key_env);
    if (!key) {
      return Error{
          ErrorCode::kInvalidArgument,
          fmt::format("--api-key-env: the environment has no variable {}", options.api_key_env)};
    }
    headers.emplace_back("Authorization", "Bearer " + *key);
  }
  return std::unique_ptr<EvalSubject>(
      std::make_unique<EndpointSubject>(options, std::move(url), form, std::move(headers)));
}

}  // namespace precis
