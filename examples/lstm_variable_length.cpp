// An LSTM over sequences of different lengths, one after the other, without padding: at the end of
// a sequence it must still know how it began.
#include <tandem/tandem.h>

#include <cstdio>

using namespace tandem;

constexpr int64_t symbols = 4;

/// i64[length], 3 to 12 symbols.
Tensor random_sequence(data::Random& random) { return randint(0, symbols, {3 + random.below(10)}); }

struct Reader : nn::Module<Reader> {
  nn::Embedding embed;
  nn::LSTM lstm;
  nn::Linear answer;
  static constexpr auto fields =
      std::tuple{field("embed", &Reader::embed), field("lstm", &Reader::lstm),
                 field("answer", &Reader::answer)};

  explicit Reader(int64_t width)
      : embed(symbols, width), lstm(width, width), answer(width, symbols) {}
  Tensor forward(const Tensor& numbers) const {
    const Tensor x = unsqueeze(embed(numbers), 1);  // [length, 1, width]
    return answer(select(lstm(x).output, 0, -1));   // of the last step: [1, symbols]
  }
};

int main() {
  manual_seed(0);
  data::Random random(0, 0);
  Reader model(32);
  optim::Adam optimizer(model, {.lr = 5e-3});

  for (int step = 0; step < 500; ++step) {
    Tensor loss = zeros({});
    for (int i = 0; i < 16; ++i) {
      const Tensor numbers = random_sequence(random);
      loss = loss + cross_entropy(model(numbers), numbers.narrow(0, 0, 1)) / 16;
    }
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    if (step % 100 == 99) std::printf("step %d: loss %.4f\n", step + 1, loss.item<double>());
  }

  const NoGrad no_grad;
  int right = 0;
  for (int i = 0; i < 1000; ++i) {
    const Tensor numbers = random_sequence(random);
    right += bool(model(numbers).argmax(1) == numbers.narrow(0, 0, 1));
  }
  std::printf("accuracy on new sequences: %.1f %%\n", right / 10.0);
}
