# Prediction on a CPU, in a container:
#
#     docker build -t sst-sal .
#     docker run --rm -v "$PWD/clips:/clips" -v "$PWD/saliency:/saliency" sst-sal \
#         inference.py --videos_folder=/clips --results_dir=/saliency
#
# Training with loader processes needs more shared memory than Docker's 64 MB: --shm-size=2g, or --num_workers=0.
# No image has been built from this file yet; .ci/run runs the same commands without a container.
FROM python:3.11-slim
WORKDIR /sst-sal
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir -r requirements.txt -c constraints.txt
COPY . .
ENTRYPOINT ["python"]
CMD ["inference.py"]
