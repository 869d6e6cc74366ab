// parity: greedy decoding of one model on two backends, side by side.
//
// Prompts are places of a text.  Both sides read the same tokens and step together; the next token is
// always the first side's, so that a difference is counted where it arises and nowhere after it.  Each
// difference is one JSON object with how far either side was from choosing as the other; the last
// object sums up.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "precis/engine.h"
#include "precis/session.h"

#include "commit.h"

namespace precis::bench {
namespace {

struct Flags {
  std::string model = "models/mini";
  std::string text = "models/mini/example/document.txt";
  std::string first = "cpu";
  std::string second = "cuda";
  std::string mode = "release";
  int n_prompts = 100;
  int n_steps = 32;
};

// A backend and its sessions.
struct Side {
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Session> session;

  TokenId best() const {
    const auto logits = session->logits();
    return static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
  }
  double logit(TokenId token) const {
    return double{session->logits()[static_cast<std::size_t>(token)]};
  }
  // How much `token` would have to gain to be chosen.
  double gap(TokenId token) const { return logit(best()) - logit(token); }
};

Result<Side> open_side(const Flags& flags, const std::string& backend) {
  EngineOptions options;
  options.model = flags.model;
  options.backend = backend;
  options.max_tokens = 8192;
  PRECIS_ASSIGN_OR_RETURN(options.mode, parse_compute_mode(flags.mode));
  Side side;
  PRECIS_ASSIGN_OR_RETURN(side.engine, Engine::open(options));
  PRECIS_ASSIGN_OR_RETURN(side.session, side.engine->new_session());
  return side;
}

// Places all over the text, of 16 to 1024 tokens.
std::vector<TokenId> prompt_of(const std::vector<TokenId>& text, int i, int n_prompts) {
  const std::size_t length = std::size_t{16} << (i % 7);
  const std::size_t room = text.size() > length ? text.size() - length : 0;
  const std::size_t begin =
      room * static_cast<std::size_t>(i) / static_cast<std::size_t>(n_prompts);
  const auto first = text.begin() + static_cast<std::ptrdiff_t>(begin);
  return {first, first + static_cast<std::ptrdiff_t>(std::min(length, text.size()))};
}

struct Totals {
  std::int64_t n_compared = 0;
  std::int64_t n_differ = 0;
  int n_prompts_equal = 0;
  double largest_gap = 0;
  double square_error = 0;
  double square = 0;

  void add_logits(const Side& a, const Side& b) {
    for (std::size_t i = 0; i < a.session->logits().size(); ++i) {
      square_error += std::pow(double{a.session->logits()[i]} - b.session->logits()[i], 2);
      square += std::pow(double{a.session->logits()[i]}, 2);
    }
  }
};

// One prompt on both sides; prints each difference.
Result<void> compare(Side& a, Side& b, const std::vector<TokenId>& prompt, int idx,
                     const Flags& flags, Totals& totals) {
  PRECIS_TRY(a.session->sync(prompt));
  PRECIS_TRY(b.session->sync(prompt));
  bool all_equal = true;
  for (int step = 0; step < flags.n_steps; ++step) {
    const TokenId of_a = a.best();
    const TokenId of_b = b.best();
    ++totals.n_compared;
    totals.add_logits(a, b);
    if (of_a != of_b) {
      all_equal = false;
      ++totals.n_differ;
      totals.largest_gap = std::max({totals.largest_gap, a.gap(of_b), b.gap(of_a)});
      const nlohmann::ordered_json line{{"prompt", idx},
                                        {"prompt_tokens", prompt.size()},
                                        {"step", step},
                                        {flags.first, of_a},
                                        {flags.second, of_b},
                                        {"gap_" + flags.first, a.gap(of_b)},
                                        {"gap_" + flags.second, b.gap(of_a)}};
      fmt::print("{}\n", line.dump());
    }
    PRECIS_TRY(a.session->step(of_a));
    PRECIS_TRY(b.session->step(of_a));
  }
  totals.n_prompts_equal += all_equal ? 1 : 0;
  return {};
}

Result<void> run(const Flags& flags) {
  PRECIS_ASSIGN_OR_RETURN(Side a, open_side(flags, flags.first));
  PRECIS_ASSIGN_OR_RETURN(Side b, open_side(flags, flags.second));
  std::ifstream file(flags.text, std::ios::binary);
  if (!file) return Error{ErrorCode::kNotFound, fmt::format("{}: cannot be read", flags.text)};
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::vector<TokenId> tokens = a.engine->tokenizer().encode(text, SpecialTokens::kAsText);
  Totals totals;
  for (int i = 0; i < flags.n_prompts; ++i) {
    PRECIS_TRY(compare(a, b, prompt_of(tokens, i, flags.n_prompts), i, flags, totals));
  }
  const nlohmann::ordered_json line{
      {"prompts", flags.n_prompts},
      {"prompts_equal", totals.n_prompts_equal},
      {"tokens", totals.n_compared},
      {"tokens_differ", totals.n_differ},
      {"largest_gap", totals.largest_gap},
      {"logits_rel", std::sqrt(totals.square_error / totals.square)},
      {"logits_rms", std::sqrt(totals.square / static_cast<double>(totals.n_compared) /
                               a.engine->info().vocab_size)},
      {"mode", flags.mode},
      {"first", flags.first},
      {"second", flags.second},
      {"commit", kMeasuredCommit}};
  fmt::print("{}\n", line.dump());
  return {};
}

int main_with(int argc, char** argv) {
  Flags flags;
  CLI::App app("parity compares greedy decoding on two backends and prints each difference.");
  app.add_option("-m,--model", flags.model, "Checkpoint directory")->capture_default_str();
  app.add_option("--text", flags.text, "Prompts are places of this file")->capture_default_str();
  app.add_option("--first", flags.first, "The side whose tokens go on")->capture_default_str();
  app.add_option("--second", flags.second, "The side compared with it")->capture_default_str();
  app.add_option("--mode", flags.mode, "release or f32")->capture_default_str();
  app.add_option("--prompts", flags.n_prompts)->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_option("--steps", flags.n_steps)->check(CLI::Range(1, 4096))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const Result<void> done = run(flags);
  if (done.ok()) return 0;
  fmt::print(stderr, "parity: {}\n", done.error().message);
  return 1;
}

}  // namespace
}  // namespace precis::bench

int main(int argc, char** argv) {
  return precis::bench::main_with(argc, argv);
}
