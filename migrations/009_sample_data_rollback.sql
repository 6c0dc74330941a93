-- Rollback: 009_sample_data
-- Description: Removes the sample rows and what hangs on them
-- Author: Ada Kern
-- Date: 2025-04-08

DELETE FROM shop.orders AS o USING shop.customers AS c
 WHERE c.id = o.customer_id AND c.email IN ('lina@example.org', 'omar@example.org');
DELETE FROM shop.products
 WHERE (tenant, sku) IN (('north', 'KETTLE-1'), ('north', 'CUP-4'), ('south', 'TEA-100'));
DELETE FROM shop.customers WHERE email IN ('lina@example.org', 'omar@example.org');
