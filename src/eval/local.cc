// Answers by an engine: the context is read once, and every question starts from its end.
#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "precis/generate.h"

#include "base/clock.h"
#include "eval/frame.h"

namespace precis {
namespace {

// Longest distance between two targets that single steps bridge faster than a sync, which also
// saves a point to go back to.
constexpr std::int64_t kStepTokens = 4;

Error stopped() {
  return {ErrorCode::kCancelled, "stopped; the same command goes on from here"};
}

void append(std::vector<TokenId>& tokens, std::span<const TokenId> more) {
  tokens.insert(tokens.end(), more.begin(), more.end());
}

// Which rows a reply's tokens were chosen from, and how many of them hold what was asked for.
class RecallCounter {
 public:
  /// `source` in tokens of the whole prompt.
  explicit RecallCounter(SourceSpan source) : source_(source) {}

  /// To be called for every token of the reply, while the selection that chose it stands.
  void add(const std::vector<SelectedRows>& selected) {
    std::vector<std::vector<bool>> layers;
    layers_.resize(selected.size());
    for (std::size_t l = 0; l < selected.size(); ++l) {
      layers_[l] = selected[l].layer;
      std::vector<bool>& held = layers.emplace_back();
      for (std::int64_t i = 0; i < source_.n_tokens; ++i) {
        const std::int64_t row = (source_.first + i) / selected[l].ratio;
        held.push_back(std::ranges::any_of(selected[l].rows, [&](std::int32_t selected_row) {
          return selected_row == row || selected_row == row + 1;
        }));
      }
    }
    held_.push_back(std::move(layers));
  }

  /// Pairs the tokens of the reply from `first_value` on with those of the source.
  std::vector<SelectorRecall> count(std::size_t first_value) const {
    std::vector<SelectorRecall> recall;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      SelectorRecall layer{.layer = layers_[l], .n_hit = 0, .n_tokens = 0};
      for (std::int64_t i = 0; i < source_.n_tokens; ++i) {
        const std::size_t at = first_value + static_cast<std::size_t>(i);
        if (at >= held_.size()) break;
        ++layer.n_tokens;
        layer.n_hit += held_[at][l][static_cast<std::size_t>(i)] ? 1 : 0;
      }
      recall.push_back(layer);
    }
    return recall;
  }

 private:
  SourceSpan source_;
  std::vector<int> layers_;
  std::vector<std::vector<std::vector<bool>>> held_;  // [reply token][layer][source token]
};

// The first token of the reply that belongs to the value: the one behind the opening, if there is
// one, and behind the space after it.
std::size_t first_value_token(const Tokenizer& tokenizer, const std::vector<SampledToken>& tokens,
                              std::span<const std::string> openings) {
  std::string text;
  for (const SampledToken& token : tokens) text += tokenizer.token_bytes(token.token);
  const std::size_t begin = std::min(text.find_first_not_of(' '), text.size());
  std::size_t value = begin;
  for (const std::string& opening : openings) {
    if (text.compare(begin, opening.size(), opening) == 0) value = begin + opening.size();
  }
  value = std::min(text.find_first_not_of(' ', value), text.size());
  std::size_t end = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    end += tokenizer.token_bytes(tokens[i].token).size();
    if (end > value) return i;
  }
  return 0;
}

class LocalSubject : public EvalSubject {
 public:
  LocalSubject(Engine& engine, PromptForm form, std::unique_ptr<Session> session,
               std::vector<TokenId> turn_start, std::vector<TokenId> answer_start)
      : engine_(engine),
        form_(form),
        session_(std::move(session)),
        turn_start_(std::move(turn_start)),
        answer_start_(std::move(answer_start)) {}

  std::vector<std::pair<std::string, std::string>> description() const override {
    const ModelInfo& info = engine_.info();
    const Ablation ablation = engine_.ablation();
    std::vector<std::pair<std::string, std::string>> out = {
        {"model", info.name},
        {"model hash", fmt::format("{:016x}", info.fingerprint)},
        {"precision", std::string(compute_mode_name(engine_.mode()))},
        {"k", fmt::format("{}", info.index_topk)}};
    // Whole attention is not named, so that results kept before there were ablations go on.
    if (ablation != Ablation::kNone) {
      out.emplace_back(kAblationKey, ablation_info(ablation).name);
    }
    if (ablation == Ablation::kRandom) {
      out.emplace_back("ablation seed", fmt::format("{}", engine_.ablation_seed()));
    }
    out.emplace_back("device", fmt::format("{} {}", info.backend, info.isa));
    return out;
  }
  int max_parallel() const override { return 1; }
  std::int64_t max_tokens() const override { return engine_.max_tokens(); }
  bool has_engine() const override { return true; }
  double busy_seconds() const override { return busy_seconds_; }

  Result<void> answer(const EvalPrompt& prompt, std::span<const std::size_t> wanted,
                      const EvalReplyFn& on_reply, const EvalContinueFn& go_on) override {
    std::vector<TokenId> context = turn_start_;
    if (!prompt.targets.empty()) context = {engine_.info().bos_token};
    const auto n_start = static_cast<std::int64_t>(context.size());
    append(context, prompt.context_tokens);
    if (!prompt.targets.empty()) {
      PRECIS_ASSIGN_OR_RETURN(EvalReply reply, predict(prompt, context, go_on));
      return on_reply(0, std::move(reply));
    }
    if (wanted.size() > 1) {
      session_->observe_selection(Session::Observe::kOff);
      const Busy busy(busy_seconds_);
      PRECIS_TRY(session_->sync(context, [&](const Progress&) { return go_on(); }));
    }
    for (const std::size_t i : wanted) {
      PRECIS_ASSIGN_OR_RETURN(EvalReply reply,
                              reply_to(prompt.questions[i], context, n_start, go_on));
      PRECIS_TRY(on_reply(i, std::move(reply)));
    }
    return {};
  }

 private:
  // Adds the time from its making to its end.
  class Busy {
   public:
    explicit Busy(double& seconds) : seconds_(seconds) {}
    ~Busy() { seconds_ += elapsed(); }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;
    double elapsed() const { return seconds_since(start_); }

   private:
    double& seconds_;
    Clock::time_point start_ = Clock::now();
  };

  Result<EvalReply> reply_to(const EvalQuestion& question, const std::vector<TokenId>& context,
                             std::int64_t n_start, const EvalContinueFn& go_on) {
    std::vector<TokenId> tokens = context;
    append(tokens,
           engine_.tokenizer().encode(question_text(form_, question), SpecialTokens::kAsText));
    append(tokens, answer_start_);

    const Busy busy(busy_seconds_);
    const bool has_source = question.source.n_tokens > 0;
    session_->observe_selection(has_source ? Session::Observe::kOn : Session::Observe::kOff);
    RecallCounter recall({question.source.first + n_start, question.source.n_tokens});
    PRECIS_TRY(session_->sync(tokens, [&](const Progress&) { return go_on(); }));
    GenerateOptions options;
    options.sampling.temperature = 0;
    options.max_new_tokens = question.allowance;
    const TextFn on_token = [&](std::string_view, const SampledToken&) {
      if (has_source) recall.add(session_->selected_rows());
      return go_on();
    };
    PRECIS_ASSIGN_OR_RETURN(Generated generated, generate(engine_, *session_, options, on_token));
    if (generated.finish == FinishReason::kCancelled) return stopped();

    EvalReply reply;
    reply.text = std::move(generated.text);
    reply.n_prompt_tokens = static_cast<std::int64_t>(tokens.size());
    reply.n_tokens = static_cast<std::int64_t>(generated.tokens.size());
    reply.seconds = busy.elapsed();
    if (has_source) {
      reply.recall =
          recall.count(first_value_token(engine_.tokenizer(), generated.tokens, question.openings));
    }
    return reply;
  }

  // What the model makes of each target's place.
  Result<EvalReply> predict(const EvalPrompt& prompt, std::span<const TokenId> tokens,
                            const EvalContinueFn& go_on) {
    const Busy busy(busy_seconds_);
    session_->observe_selection(Session::Observe::kOff);
    EvalReply reply;
    reply.n_prompt_tokens = static_cast<std::int64_t>(tokens.size());
    for (std::size_t i = 0; i < prompt.targets.size(); ++i) {
      const std::int64_t n_before = prompt.targets[i].n_before + 1;  // with the begin of sentence
      if (i == 0 || n_before - session_->position() > kStepTokens) {
        PRECIS_TRY(session_->sync(tokens.first(static_cast<std::size_t>(n_before)),
                                  [&](const Progress&) { return go_on(); }));
      }
      while (session_->position() < n_before) {
        PRECIS_TRY(session_->step(tokens[static_cast<std::size_t>(session_->position())]));
      }
      reply.values.push_back(value_of(prompt.metric, prompt.targets[i].token));
      if (!go_on()) return stopped();
    }
    reply.n_tokens = std::ssize(prompt.targets);
    reply.seconds = busy.elapsed();
    return reply;
  }

  double value_of(EvalMetric metric, TokenId token) const {
    const std::span<const float> logits = session_->logits();
    const auto largest = std::ranges::max_element(logits);
    if (metric == EvalMetric::kAccuracy) return largest - logits.begin() == token ? 1 : 0;
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - *largest);
    return std::log(sum) + *largest - logits[static_cast<std::size_t>(token)];
  }

  Engine& engine_;
  PromptForm form_;
  std::unique_ptr<Session> session_;
  std::vector<TokenId> turn_start_;
  std::vector<TokenId> answer_start_;
  double busy_seconds_ = 0;
};

}  // namespace

Result<std::unique_ptr<EvalSubject>> local_subject(Engine& engine, PromptForm form) {
  std::vector<TokenId> turn_start = {engine.info().bos_token};
  std::vector<TokenId> answer_start;
  if (form == PromptForm::kChat) {
    const auto add = [&](std::string_view text, std::vector<TokenId>& to) -> Result<void> {
      const std::optional<TokenId> token = engine.tokenizer().token_id(text);
      if (!token) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("the tokenizer has no token {}, which the chat form needs", text)};
      }
      to.push_back(*token);
      return {};
    };
    PRECIS_TRY(add("<｜User｜>", turn_start));
    PRECIS_TRY(add("<｜Assistant｜>", answer_start));
    PRECIS_TRY(add("</think>", answer_start));
  }
  PRECIS_ASSIGN_OR_RETURN(std::unique_ptr<Session> session, engine.new_session());
  return std::unique_ptr<EvalSubject>(std::make_unique<LocalSubject>(
      engine, form, std::move(session), std::move(turn_start), std::move(answer_start)));
}

}  // namespace precis
