// The endpoint against a server in this process that misbehaves in every way that servers do.
#include "eval/endpoint.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <map>
#include <thread>

#include <gtest/gtest.h>
#include <httplib.h>
#include <nlohmann/json.hpp>

#include "eval/eval_test_util.h"

namespace precis {
namespace {

using Json = nlohmann::json;
using Handler = httplib::Server::Handler;

// A server on a free port of the loopback device.
class StubServer {
 public:
  explicit StubServer(const Handler& handler) {
    server_.Post(".*",
                 [this, handler](const httplib::Request& request, httplib::Response& response) {
                   ++n_requests;
                   handler(request, response);
                 });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~StubServer() {
    server_.stop();
    thread_.join();
  }

  std::string url(const std::string& path = "") const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }

  std::atomic<int> n_requests = 0;

 private:
  httplib::Server server_;
  std::thread thread_;
  int port_ = 0;
};

std::string completion(const std::string& text) {
  return Json({{"choices",
                {{{"index", 0},
                  {"message", {{"role", "assistant"}, {"content", text}}},
                  {"finish_reason", "stop"}}}},
               {"usage", {{"prompt_tokens", 9}, {"completion_tokens", 3}}}})
      .dump();
}

std::string event(const std::string& text, bool last = false) {
  return "data: " +
         Json({{"choices",
                {{{"delta", {{"content", text}}},
                  {"finish_reason", last ? Json("stop") : Json()}}}}})
             .dump() +
         "\n\n";
}

EndpointOptions options_for(const std::string& url) {
  EndpointOptions options;
  options.url = url;
  options.model = "stub";
  options.timeout_seconds = 0.3;
  options.first_wait_seconds = 0.001;
  options.n_retries = 3;
  return options;
}

EvalPrompt question() {
  EvalPrompt prompt;
  prompt.task = "niah";
  prompt.context = "The code is 7.";
  prompt.questions.resize(1);
  prompt.questions[0].text = "What is the code?";
  prompt.questions[0].answer_prefix = " It is";
  prompt.questions[0].references = {"7"};
  return prompt;
}

Result<EvalReply> ask(const EndpointOptions& options, PromptForm form = PromptForm::kChat) {
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<EvalSubject> subject,
                          endpoint_subject(options, form));
  EvalReply kept;
  const std::vector<std::size_t> wanted = {0};
  PRECIS_TRY(subject->answer(
      question(), wanted,
      [&](std::size_t, EvalReply reply) {
        kept = std::move(reply);
        return Result<void>();
      },
      [] { return true; }));
  return kept;
}

// A server whose first reply is made by `first`; later ones are right.
Result<EvalReply> after(const Handler& first, int* n_requests = nullptr) {
  std::atomic<int> n = 0;
  StubServer server([&](const httplib::Request& request, httplib::Response& response) {
    if (n++ == 0) return first(request, response);
    response.set_content(completion("7"), "application/json");
  });
  auto reply = ask(options_for(server.url()));
  if (n_requests != nullptr) *n_requests = server.n_requests;
  return reply;
}

TEST(Endpoint, SendsTheChatFormAndReadsTheReply) {
  Json sent;
  std::string path;
  std::string key;
  StubServer server([&](const httplib::Request& request, httplib::Response& response) {
    sent = Json::parse(request.body);
    path = request.path;
    key = request.get_header_value("Authorization");
    response.set_content(completion("It is 7."), "application/json");
  });
  setenv("PRECIS_TEST_KEY", "secret", 1);
  EndpointOptions options = options_for(server.url());
  options.api_key_env = "PRECIS_TEST_KEY";
  const auto reply = ask(options);
  ASSERT_TRUE(reply.ok()) << reply.error().message;
  EXPECT_EQ(reply->text, "It is 7.");
  EXPECT_EQ(reply->n_prompt_tokens, 9);
  EXPECT_EQ(reply->n_tokens, 3);
  EXPECT_EQ(path, "/v1/chat/completions");
  EXPECT_EQ(key, "Bearer secret");
  EXPECT_EQ(sent["messages"][0]["content"], "The code is 7.\nWhat is the code?");
  EXPECT_EQ(sent["temperature"], 0);
  EXPECT_EQ(sent["model"], "stub");
}

TEST(Endpoint, SendsTheRawFormToThePathItWasGiven) {
  Json sent;
  std::string path;
  StubServer server([&](const httplib::Request& request, httplib::Response& response) {
    sent = Json::parse(request.body);
    path = request.path;
    response.set_content(R"({"choices": [{"text": " 7."}]})", "application/json");
  });
  const auto reply = ask(options_for(server.url("/openai/v1/")), PromptForm::kRaw);
  ASSERT_TRUE(reply.ok()) << reply.error().message;
  EXPECT_EQ(reply->text, " 7.");
  EXPECT_EQ(path, "/openai/v1/completions");
  EXPECT_EQ(sent["prompt"], "The code is 7.\nWhat is the code? It is");
}

TEST(Endpoint, ReadsAStream) {
  StubServer server([](const httplib::Request&, httplib::Response& response) {
    response.set_content(": hello\n\n" + event("It ") + event("is 7.", true) + "data: [DONE]\n\n",
                         "text/event-stream");
  });
  EndpointOptions options = options_for(server.url());
  options.stream = true;
  const auto reply = ask(options);
  ASSERT_TRUE(reply.ok()) << reply.error().message;
  EXPECT_EQ(reply->text, "It is 7.");
}

TEST(Endpoint, TriesAgainAfterWhateverMayPass) {
  int n_requests = 0;
  for (const int status : {429, 500, 502, 503}) {
    const auto reply = after(
        [=](const httplib::Request&, httplib::Response& response) {
          response.status = status;
          response.set_content("busy", "text/plain");
        },
        &n_requests);
    ASSERT_TRUE(reply.ok()) << status << " " << reply.error().message;
    EXPECT_EQ(reply->text, "7");
    EXPECT_EQ(n_requests, 2);
  }
  const std::map<std::string, std::string> bodies = {
      {"malformed", "{\"choices\": [{\"mess"},
      {"another object", "{\"error\": \"overloaded\"}"},
      {"half a stream", event("It ")},
      {"a torn event", event("It ") + "data: {\"choices\": ["}};
  for (const auto& [name, body] : bodies) {
    const auto reply = after(
        [&, text = body](const httplib::Request&, httplib::Response& response) {
          response.set_content(text, "application/json");
        },
        &n_requests);
    ASSERT_TRUE(reply.ok()) << name << " " << reply.error().message;
    EXPECT_EQ(reply->text, "7") << name;
    EXPECT_EQ(n_requests, 2) << name;
  }
}

TEST(Endpoint, TriesAgainAfterATimeOutAndAfterALostConnection) {
  int n_requests = 0;
  auto reply = after(
      [](const httplib::Request&, httplib::Response& response) {
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
        response.set_content(completion("late"), "application/json");
      },
      &n_requests);
  ASSERT_TRUE(reply.ok()) << reply.error().message;
  EXPECT_EQ(reply->text, "7");

  reply = after(
      [](const httplib::Request&, httplib::Response& response) {
        // Promises more than it sends, then hangs up.
        response.set_content_provider(1000, "application/json",
                                      [](std::size_t, std::size_t, httplib::DataSink& sink) {
                                        sink.write("{\"cho", 5);
                                        return false;
                                      });
      },
      &n_requests);
  ASSERT_TRUE(reply.ok()) << reply.error().message;
  EXPECT_EQ(reply->text, "7");
  EXPECT_EQ(n_requests, 2);
}

TEST(Endpoint, GivesUpAfterItsTriesAndShowsWhatCame) {
  StubServer server([](const httplib::Request&, httplib::Response& response) {
    response.status = 503;
    response.set_content("the model is loading", "text/plain");
  });
  const auto reply = ask(options_for(server.url()));
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(server.n_requests, 4);
  EXPECT_NE(reply.error().message.find("503"), std::string::npos) << reply.error().message;
  EXPECT_NE(reply.error().message.find("the model is loading"), std::string::npos);
}

TEST(Endpoint, DoesNotRepeatWhatCannotHelp) {
  StubServer server([](const httplib::Request&, httplib::Response& response) {
    response.status = 401;
    response.set_content("no such key", "text/plain");
  });
  const auto reply = ask(options_for(server.url()));
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(server.n_requests, 1);
  EXPECT_NE(reply.error().message.find("no such key"), std::string::npos);
}

TEST(Endpoint, NamesTheSampleThatFailed) {
  const ScratchDirectory directory;
  EvalOptions options;
  options.tasks = {"w1"};
  options.lengths = {1024};
  options.depths = {0};
  EndpointOptions endpoint = options_for("http://127.0.0.1:1");
  endpoint.n_retries = 0;
  auto subject = endpoint_subject(endpoint, PromptForm::kChat);
  ASSERT_TRUE(subject.ok());
  const auto run = run_eval(options, mini_tokenizer(), **subject, directory.path());
  ASSERT_FALSE(run.ok());
  EXPECT_TRUE(run.error().message.starts_with("w1/1024/0: ")) << run.error().message;
}

TEST(Endpoint, RefusesOptionsOutOfRange) {
  const auto refused = [](const std::function<void(EndpointOptions&)>& change) {
    EndpointOptions options = options_for("http://localhost:1");
    change(options);
    return !endpoint_subject(options, PromptForm::kChat).ok();
  };
  EXPECT_FALSE(refused([](auto&) {}));
  EXPECT_TRUE(refused([](auto& o) { o.url = "ftp://x"; }));
  EXPECT_TRUE(refused([](auto& o) { o.url = "http://"; }));
  EXPECT_TRUE(refused([](auto& o) { o.n_parallel = 0; }));
  EXPECT_TRUE(refused([](auto& o) { o.timeout_seconds = 0; }));
  EXPECT_TRUE(refused([](auto& o) { o.api_key_env = "PRECIS_NO_SUCH_VARIABLE"; }));
}

}  // namespace
}  // namespace precis
