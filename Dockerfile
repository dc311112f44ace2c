FROM golang:1.27 AS build
ARG GOPROXY
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /example-api-go .

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /example-api-go /
ENV HOST=0.0.0.0
USER 65534:65534
EXPOSE 5000
ENTRYPOINT ["/example-api-go"]
