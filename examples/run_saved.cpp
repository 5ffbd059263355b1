// Runs what train_and_save wrote, without a line of the model's source, and goes on training it.
#include <tandem/tandem.h>

#include <cstdio>

using namespace tandem;

int main() {
  const NamedTensors data = load_safetensors("data.safetensors");
  const Tensor x = find(data, "x"), y = find(data, "y");

  LoadedGraph model = load_graph("model.onnx");
  std::printf("%s", model.describe().c_str());
  const Tensor predicted = model.run({x})[0];
  const double difference = (predicted - find(data, "predicted")).abs().max().item<double>();
  std::printf("difference of the predictions: %g\n", difference);

  LoadedGraph training = load_graph("training.onnx");
  double first = 0, last = 0;
  for (int i = 0; i < 200; ++i) {
    last = training.run({x, y})[0].item<double>();
    if (i == 0) first = last;
  }
  std::printf("loss goes on from %.6f to %.6f\n", first, last);
  std::printf("loss fell to a part of %.4f\n", difference < 1e-5 ? last / first : 1e9);
}
