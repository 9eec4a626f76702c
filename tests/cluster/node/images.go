package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// image is the part of an image's configuration that matters to processes whose files are the
// machine's own.
type image struct {
	Entrypoint []string          `json:"entrypoint"`
	Env        map[string]string `json:"env"`
	Dir        string            `json:"workdir"`
	User       int64             `json:"user"`
	Mounts     []mount           `json:"mounts"` // read-only, and any user of a container may reach them
	name, id   string
}

// catalogue is a directory with one file for each image, which may come and go at any time.
type catalogue string

func (c catalogue) all() []image {
	var all []image
	paths, _ := filepath.Glob(filepath.Join(string(c), "*.json"))
	for _, path := range paths {
		data, err := os.ReadFile(path)
		i := image{name: strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".json"), "%", "/")}
		if err != nil || json.Unmarshal(data, &i) != nil {
			continue
		}
		i.id = fmt.Sprintf("sha256:%x", sha256.Sum256(append(data, i.name...)))
		all = append(all, i)
	}
	return all
}

// find looks an image up by its name with a tag, or by its identity.
func (c catalogue) find(name string) (image, error) {
	for _, i := range c.all() {
		if i.name == name || i.id == name || i.name == name+":latest" {
			return i, nil
		}
	}
	return image{}, status.Errorf(codes.NotFound, "image %s is not in the test cluster's catalogue", name)
}

func (i image) describe() *cri.Image {
	return &cri.Image{Id: i.id, RepoTags: []string{i.name}, Size: 1, Uid: &cri.Int64Value{Value: i.User},
		Spec: &cri.ImageSpec{Image: i.name}, Pinned: true}
}

type imageService struct {
	cri.UnimplementedImageServiceServer
	catalogue
}

func (s imageService) ListImages(context.Context, *cri.ListImagesRequest) (*cri.ListImagesResponse, error) {
	answer := &cri.ListImagesResponse{}
	for _, i := range s.all() {
		answer.Images = append(answer.Images, i.describe())
	}
	return answer, nil
}

func (s imageService) ImageStatus(_ context.Context, r *cri.ImageStatusRequest) (*cri.ImageStatusResponse, error) {
	found, err := s.find(r.GetImage().GetImage())
	if err != nil {
		return &cri.ImageStatusResponse{}, nil // an empty answer says that it is not here
	}
	return &cri.ImageStatusResponse{Image: found.describe()}, nil
}

func (s imageService) PullImage(_ context.Context, r *cri.PullImageRequest) (*cri.PullImageResponse, error) {
	found, err := s.find(r.GetImage().GetImage())
	return &cri.PullImageResponse{ImageRef: found.id}, err
}

func (s imageService) RemoveImage(context.Context, *cri.RemoveImageRequest) (*cri.RemoveImageResponse, error) {
	return &cri.RemoveImageResponse{}, nil
}

func (s imageService) ImageFsInfo(context.Context, *cri.ImageFsInfoRequest) (*cri.ImageFsInfoResponse, error) {
	usage := []*cri.FilesystemUsage{{Timestamp: time.Now().UnixNano(), FsId: &cri.FilesystemIdentifier{Mountpoint: "/"},
		UsedBytes: &cri.UInt64Value{}, InodesUsed: &cri.UInt64Value{}}}
	return &cri.ImageFsInfoResponse{ImageFilesystems: usage, ContainerFilesystems: usage}, nil
}
