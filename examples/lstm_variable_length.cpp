// An LSTM over sequences of different lengths, one after the other, without padding: did the
// sequence begin with the symbol with which it ends?
#include <tandem/tandem.h>

#include <cstdio>

using namespace tandem;

constexpr int64_t symbols = 4;

struct Sequence {
  Tensor numbers;  // i64[length]
  bool same;
};

Sequence random_sequence(data::Random& random) {
  std::vector<int64_t> s(size_t(3 + random.below(10)));
  for (int64_t& v : s) v = random.below(symbols);
  if (random.chance(0.4)) s.back() = s.front();
  const bool same = s.back() == s.front();
  const auto length = int64_t(s.size());
  return {wrap(std::move(s), {length}), same};
}

struct Reader : nn::Module<Reader> {
  nn::Embedding embed;
  nn::LSTM lstm;
  nn::Linear answer;
  static constexpr auto fields =
      std::tuple{field("embed", &Reader::embed), field("lstm", &Reader::lstm),
                 field("answer", &Reader::answer)};

  explicit Reader(int64_t width) : embed(symbols, width), lstm(width, width), answer(width, 1) {}
  Tensor forward(const Tensor& numbers) const {
    const Tensor x = unsqueeze(embed(numbers), 1);  // [length, 1, width]
    return answer(select(lstm(x).output, 0, -1));   // of the last step: [1, 1]
  }
};

int main() {
  manual_seed(0);
  data::Random random(0, 0);
  Reader model(32);
  optim::Adam optimizer(model, {.lr = 5e-3});

  for (int step = 0; step < 400; ++step) {
    Tensor loss = zeros({});
    for (int i = 0; i < 16; ++i) {
      const Sequence s = random_sequence(random);
      const Tensor target = full({1, 1}, s.same, f32);
      loss = loss + binary_cross_entropy_with_logits(model(s.numbers), target) / 16;
    }
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    if (step % 100 == 99) std::printf("step %d: loss %.4f\n", step + 1, loss.item<double>());
  }

  const NoGrad no_grad;
  int right = 0;
  for (int i = 0; i < 1000; ++i) {
    const Sequence s = random_sequence(random);
    right += (model(s.numbers).item<double>() > 0) == s.same;
  }
  std::printf("accuracy on new sequences: %.1f %%\n", right / 10.0);
}
