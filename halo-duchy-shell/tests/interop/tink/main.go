// Command tink does with Tink's own library what tests/interop/tink.rs asks for: a JSON array of requests on standard
// input, one of answers on standard output. Bytes are in hexadecimal.
package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/hybrid"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
)

type request struct {
	// generate, encrypt, decrypt, write_encrypted or read_encrypted
	Operation string `json:"operation"`
	// binary or json
	Format   string `json:"format"`
	Template string `json:"template"`
	Keyset   string `json:"keyset"`
	// Plaintext or ciphertext; of write_encrypted a cleartext binary keyset, of read_encrypted an encrypted one
	Data    string `json:"data"`
	Context string `json:"context"`
}

type answer struct {
	// Ciphertext, plaintext or private keyset
	Data string `json:"data"`
	// Public keyset
	Public string `json:"public"`
	Error  string `json:"error"`
}

var templates = map[string]func() *tinkpb.KeyTemplate{
	"DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_256_GCM":     hybrid.DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_256_GCM_Key_Template,
	"DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_256_GCM_RAW": hybrid.DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_256_GCM_Raw_Key_Template,
	"DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_128_GCM":     hybrid.DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_128_GCM_Key_Template,
	"DHKEM_P256_HKDF_SHA256_HKDF_SHA256_AES_256_GCM":       hybrid.DHKEM_P256_HKDF_SHA256_HKDF_SHA256_AES_256_GCM_Key_Template,
	"ECIES_P256_HKDF_HMAC_SHA256_AES128_GCM":               hybrid.ECIESHKDFAES128GCMKeyTemplate,
	"ECIES_P256_HKDF_HMAC_SHA256_AES128_CTR_HMAC_SHA256":   hybrid.ECIESHKDFAES128CTRHMACSHA256KeyTemplate,
	"AES128_GCM":             aead.AES128GCMKeyTemplate,
	"AES256_GCM":             aead.AES256GCMKeyTemplate,
	"AES256_GCM_RAW":         aead.AES256GCMNoPrefixKeyTemplate,
	"AES128_CTR_HMAC_SHA256": aead.AES128CTRHMACSHA256KeyTemplate,
}

func main() {
	var requests []request
	if err := json.NewDecoder(os.Stdin).Decode(&requests); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	answers := make([]answer, len(requests))
	for i, request := range requests {
		if err := serve(&request, &answers[i]); err != nil {
			answers[i] = answer{Error: err.Error()}
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(request *request, answer *answer) error {
	switch request.Operation {
	case "generate":
		return generate(request, answer)
	case "encrypt", "decrypt":
		return crypt(request, answer)
	case "write_encrypted", "read_encrypted":
		return envelope(request, answer)
	}
	return fmt.Errorf("unknown operation %q", request.Operation)
}

func generate(request *request, answer *answer) error {
	template, found := templates[request.Template]
	if !found {
		return fmt.Errorf("unknown template %q", request.Template)
	}
	private, err := keyset.NewHandle(template())
	if err != nil {
		return err
	}
	if answer.Data, err = write(private, request.Format); err != nil {
		return err
	}
	// A key that encrypts keysets has no public half.
	if public, err := private.Public(); err == nil {
		answer.Public, err = write(public, request.Format)
		return err
	}
	return nil
}

// envelope writes or reads a keyset encrypted under another one.
func envelope(request *request, answer *answer) error {
	serialised, err := hex.DecodeString(request.Keyset)
	if err != nil {
		return err
	}
	data, err := hex.DecodeString(request.Data)
	if err != nil {
		return err
	}
	var reader keyset.Reader = keyset.NewBinaryReader(bytes.NewReader(serialised))
	if request.Format == "json" {
		reader = keyset.NewJSONReader(bytes.NewReader(serialised))
	}
	key, err := insecurecleartextkeyset.Read(reader)
	if err != nil {
		return err
	}
	primitive, err := aead.New(key)
	if err != nil {
		return err
	}
	source := keyset.NewBinaryReader(bytes.NewReader(data))
	if request.Operation == "read_encrypted" {
		handle, err := keyset.Read(source, primitive)
		if err != nil {
			return err
		}
		answer.Data, err = write(handle, "binary")
		return err
	}
	handle, err := insecurecleartextkeyset.Read(source)
	if err != nil {
		return err
	}
	var buffer bytes.Buffer
	if err := handle.Write(keyset.NewBinaryWriter(&buffer), primitive); err != nil {
		return err
	}
	answer.Data = hex.EncodeToString(buffer.Bytes())
	return nil
}

func write(handle *keyset.Handle, format string) (string, error) {
	var buffer bytes.Buffer
	var writer keyset.Writer = keyset.NewBinaryWriter(&buffer)
	if format == "json" {
		writer = keyset.NewJSONWriter(&buffer)
	}
	if err := insecurecleartextkeyset.Write(handle, writer); err != nil {
		return "", err
	}
	return hex.EncodeToString(buffer.Bytes()), nil
}

func crypt(request *request, answer *answer) error {
	serialised, err := hex.DecodeString(request.Keyset)
	if err != nil {
		return err
	}
	data, err := hex.DecodeString(request.Data)
	if err != nil {
		return err
	}
	context, err := hex.DecodeString(request.Context)
	if err != nil {
		return err
	}
	var reader keyset.Reader = keyset.NewBinaryReader(bytes.NewReader(serialised))
	if request.Format == "json" {
		reader = keyset.NewJSONReader(bytes.NewReader(serialised))
	}
	var result []byte
	if request.Operation == "encrypt" {
		handle, err := keyset.ReadWithNoSecrets(reader)
		if err != nil {
			return err
		}
		encrypt, err := hybrid.NewHybridEncrypt(handle)
		if err != nil {
			return err
		}
		if result, err = encrypt.Encrypt(data, context); err != nil {
			return err
		}
	} else {
		handle, err := insecurecleartextkeyset.Read(reader)
		if err != nil {
			return err
		}
		decrypt, err := hybrid.NewHybridDecrypt(handle)
		if err != nil {
			return err
		}
		if result, err = decrypt.Decrypt(data, context); err != nil {
			return err
		}
	}
	answer.Data = hex.EncodeToString(result)
	return nil
}
